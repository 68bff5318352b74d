"""The transformation against its bare limit: the same SQL as plain INSERT … SELECT, indexes and keys afterwards.

Both in one run on one server, each with one connection: `make bench`, or with its arguments,
`make bench ARGS="--contacts 100000 --repeat 3"`.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from crm_migrate import control, database, demo_data, transform
from crm_migrate.database import Connection
from crm_migrate.legacy import Generation
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

LIMIT = 2.0
SELECTORS: tuple[transform.Selector, ...] = ("sources_only", "stage_1", "stage_1_5")
PREPARE = "indexes and foreign keys"


@dataclass(frozen=True)
class Measured:
    """Seconds by model, and those of what comes after the load."""

    seconds: Mapping[str, float]
    outside: float

    @property
    def total(self) -> float:
        """All that is compared: models and what comes after."""
        return sum(self.seconds.values())


def main() -> int:
    """Measure, print, and fail above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000, help="size of the CRM; half as many deals")
    parser.add_argument("--repeat", type=int, default=1, help="runs; medians are printed")
    wanted = parser.parse_args()
    # one connection on both sides
    os.environ["CRM_MIGRATE_DBT_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder, EmbeddedServer() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute("create database bench")
        place = Path(folder)
        settings = Settings(
            dsn=server.dsn("bench"), work_dir=place, seeds_dir=place / "seeds", log_file=place / "bench.log"
        )
        with database.connect(settings) as connection:
            started = time.perf_counter()
            demo_data.create_schema(connection, Generation.G2026)
            demo_data.load(connection, Generation.G2026, contacts=wanted.contacts)
            demo_data.demo_seeds(connection, settings.seeds_dir)
            connection.execute("vacuum analyze")
            print(f"loaded {wanted.contacts:,} contacts in {time.perf_counter() - started:.1f} s")
            pairs = [measure(connection, settings, number) for number in range(wanted.repeat)]
            equal = differing(connection)
    return report(pairs, equal, wanted.contacts)


def measure(connection: Connection, settings: Settings, number: int) -> tuple[Measured, Measured]:
    """One run of the program's way and one of the plain way, one after the other."""
    ours = transformed(connection, settings, f"bench-{number}")
    return ours, plainly(connection, settings, list(ours.seconds))


def transformed(connection: Connection, settings: Settings, run_id: str) -> Measured:
    """The program's way: ledger, batches, upsert, bisecting at hand, then what is built afterwards."""
    control.install(connection, settings)
    control.begin_build(connection, run_id, settings.batch_size)
    connection.execute("checkpoint")
    seconds: dict[str, float] = {}
    outside = 0.0
    for selector in SELECTORS:
        started = time.perf_counter()
        built = transform.build(settings, run_id, selector)
        seconds |= built.seconds_by_model
        outside += time.perf_counter() - started - sum(built.seconds_by_model.values())
    started = time.perf_counter()
    for folder in ("prepare/stage_1", "prepare/stage_1_5"):
        database.run_sql_folder(connection, folder)
    seconds[PREPARE] = time.perf_counter() - started
    return Measured(seconds, outside)


def plainly(connection: Connection, settings: Settings, order: list[str]) -> Measured:
    """The bare limit: each model's own SELECT, the tables without keys, indexes and keys afterwards."""
    compiled = {path.stem: path for path in settings.work_dir.rglob("compiled/**/models/**/*.sql")}
    connection.execute("drop schema if exists plain cascade")
    connection.execute("create schema plain")
    connection.execute("checkpoint")
    connection.execute("set search_path = crm_build, public, extensions")
    seconds: dict[str, float] = {}
    try:
        for model in order:
            kind = _kind(connection, model)
            if kind is None or model not in compiled:
                continue
            text = compiled[model].read_text(encoding="utf-8")
            started = time.perf_counter()
            if kind == "batched":
                columns = _columns(connection, model)
                connection.execute(
                    sql.SQL(
                        "create table plain.{} (like crm_build.{} including defaults including constraints"
                        " including generated including identity)"
                    ).format(sql.Identifier(model), sql.Identifier(model))
                )
                connection.execute(
                    sql.SQL("insert into plain.{} ({}) select {} from (").format(
                        sql.Identifier(model), columns, columns
                    )
                    + sql.SQL(text)
                    + sql.SQL(") as model")
                )
            else:
                connection.execute(sql.SQL("create table plain.{} as ").format(sql.Identifier(model)) + sql.SQL(text))
                connection.execute(sql.SQL("analyze plain.{}").format(sql.Identifier(model)))
            seconds[model] = time.perf_counter() - started
        connection.execute("set search_path = ''")
        started = time.perf_counter()
        for statement in _afterwards(connection):
            connection.execute(sql.SQL(statement))
        connection.execute("analyze")
        seconds[PREPARE] = time.perf_counter() - started
    finally:
        connection.execute("set search_path = ''")
    return Measured(seconds, 0.0)


def _kind(connection: Connection, model: str) -> str | None:
    """`batched` or `table`; None for a view, which costs nothing to make."""
    if database.scalar(connection, "select exists (select from crm_migration.model_loads where model = %s)", [model]):
        return "batched"
    found = database.scalar(
        connection,
        "select relkind::text from pg_catalog.pg_class where relnamespace = 'crm_build'::regnamespace and relname = %s",
        [model],
    )
    return "table" if found == "r" else None


def _columns(connection: Connection, model: str) -> sql.Composed:
    """The columns that the program inserts: all but the generated ones."""
    names = [
        row[0]
        for row in connection.execute(
            "select attname::text from pg_catalog.pg_attribute"
            " where attrelid = format('crm_build.%%I', %s::text)::regclass"
            " and attnum > 0 and not attisdropped and attgenerated = '' order by attnum",
            [model],
        )
    ]
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _afterwards(connection: Connection) -> Iterator[str]:
    """The indexes and keys that the program has in the build schema, for the plain tables."""
    indexes = """
        select replace(pg_get_indexdef(indexrelid), ' ON crm_build.', ' ON plain.')
        from pg_catalog.pg_index
        inner join pg_catalog.pg_class on pg_class.oid = indrelid
        where relnamespace = 'crm_build'::regnamespace and to_regclass('plain.' || quote_ident(relname)) is not null
        order by indexrelid
    """
    keys = """
        select format(
            'alter table plain.%I add constraint %I %s',
            relname, conname,
            replace(pg_get_constraintdef(pg_constraint.oid), 'REFERENCES crm_build.', 'REFERENCES plain.')
        )
        from pg_catalog.pg_constraint
        inner join pg_catalog.pg_class on pg_class.oid = conrelid
        where relnamespace = 'crm_build'::regnamespace and contype = 'f'
            and to_regclass('plain.' || quote_ident(relname)) is not null
        order by relname, conname
    """
    for query in (indexes, keys):
        for row in connection.execute(query).fetchall():
            yield row[0]


def differing(connection: Connection) -> int:
    """Rows that the two ways made differently; the marts only."""
    total = 0
    for (model,) in connection.execute("select distinct model from crm_migration.model_loads").fetchall():
        columns = _columns(connection, model)
        total += int(
            database.scalar(
                connection,
                sql.SQL(
                    "select count(*) from (select {columns} from crm_build.{model}) as ours"
                    " full join (select {columns} from plain.{model}) as plain on ours::text = plain::text"
                    " where ours is null or plain is null"
                ).format(columns=columns, model=sql.Identifier(model)),
            )
        )
    return total


def report(pairs: list[tuple[Measured, Measured]], differences: int, contacts: int) -> int:
    """Print medians and the ratio; 1 when it is above the limit or the results differ."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {contacts:,} contacts")
    print(f"{'model':<42}{'program':>10}{'plain':>10}{'ratio':>8}")
    for model in pairs[0][0].seconds:
        ours = statistics.median(pair[0].seconds.get(model, 0.0) for pair in pairs)
        plain = statistics.median(pair[1].seconds.get(model, 0.0) for pair in pairs)
        if max(ours, plain) >= 0.05:
            print(f"{model:<42}{ours:>9.2f}s{plain:>9.2f}s{ours / plain if plain else float('nan'):>8.2f}")
    ours = statistics.median(pair[0].total for pair in pairs)
    plain = statistics.median(pair[1].total for pair in pairs)
    ratio = statistics.median(pair[0].total / pair[1].total for pair in pairs)
    outside = statistics.median(pair[0].outside for pair in pairs)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'whole transformation':<42}{ours:>9.2f}s{plain:>9.2f}s{ratio:>8.2f}")
    print(
        f"dbt's start, parsing and data tests, not in the ratio: {outside:.1f} s; peak memory of Python {memory:.0f} MB"
    )
    print(f"differing rows: {differences}; ratio {ratio:.2f}, at most {LIMIT:.2f}")
    return 0 if ratio <= LIMIT and differences == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
