"""What the safety costs: the program's own insert statements, with one of its precautions left out at a time.

The four large tables are filled anew for each way, over the intermediate tables that are there, and end in the same
rows. Each way is as the program works but for what its name says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection

TABLES = ("opportunities", "opportunity_participants", "contact_organizations", "activities")
PROGRAM = "as the program works"
_UPSERT_MARK = "-- rows that are there already"
_OWN = "safety"


@dataclass(frozen=True)
class Load:
    """One table's load as the program planned it."""

    model: str
    insert_sql: str
    plain_sql: str
    unique_key: str
    ranges: tuple[tuple[int, int, int], ...]


Way = Callable[[Connection, Load], None]


def run(connection: Connection, run_id: str, models: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each way, all four tables together.

    Args:
        connection: `crm_build` holds the intermediate tables.
        run_id: a finished build of the program, whose plan of batches is used.
        models: what dbt knows of the models, by name.
    """
    loads = [_load(connection, run_id, models[name]) for name in TABLES]
    _like_a_batch(connection)
    seconds = {}
    for name, (way, has_key) in _WAYS.items():
        seconds[name] = 0.0
        for table in reversed(TABLES):
            connection.execute(sql.SQL("drop table if exists crm_build.{} cascade").format(sql.Identifier(table)))
        for load in loads:
            _make_table(connection, load, has_key=has_key)
            _plan_again(connection, run_id, load)
            connection.execute("checkpoint")
            began = time.perf_counter()
            way(connection, load)
            if not has_key:
                _add_key(connection, load)
            seconds[name] += time.perf_counter() - began
            connection.execute(sql.SQL("analyze crm_build.{}").format(sql.Identifier(load.model)))
    _forget(connection)
    return seconds


def _as_the_program(connection: Connection, load: Load) -> None:
    for number, _, _ in load.ranges:
        with connection.transaction():
            connection.execute("select from crm_migration.run_batch(%s, %s, %s)", [_OWN, load.model, number])


def _without_ledger(connection: Connection, load: Load) -> None:
    for number, lowest, highest in load.ranges:
        with connection.transaction():
            connection.execute(
                "select from crm_migration.load_range((select loads from crm_migration.model_loads as loads"
                " where run_id = %s and model = %s), %s, %s, %s, 0, 0, 0)",
                [_OWN, load.model, number, lowest, highest],
            )


def _without_bisecting(connection: Connection, load: Load) -> None:
    with _prepared(connection, load.plain_sql):
        for number, lowest, highest in load.ranges:
            with connection.transaction():
                written = _execute(connection, lowest, highest)
                connection.execute(
                    "update crm_migration.batches set state = 'done', rows_written = %s,"
                    " finished_at = clock_timestamp() where run_id = %s and model = %s and batch_no = %s",
                    [written, _OWN, load.model, number],
                )


def _always_upsert(connection: Connection, load: Load) -> None:
    # without the line between them the function takes both parts for one
    whole = load.insert_sql.replace(f"{_UPSERT_MARK}\n", "")
    connection.execute(
        "update crm_migration.model_loads set insert_sql = %s where run_id = %s and model = %s",
        [whole, _OWN, load.model],
    )
    _as_the_program(connection, load)


def _in_one(connection: Connection, load: Load) -> None:
    with _prepared(connection, load.plain_sql):
        _execute(connection, -(2**63), 2**63 - 1)


# what is done, and whether the primary key is there from the start
_WAYS: Mapping[str, tuple[Way, bool]] = {
    PROGRAM: (_as_the_program, True),
    "without the ledger": (_without_ledger, True),
    "without the bisecting function": (_without_bisecting, True),
    "without the upsert: the key comes afterwards, no batch can be repeated": (_as_the_program, False),
    "with an upsert in every batch, which the program does only when a row is there": (_always_upsert, True),
    "without any of it: one statement, the key afterwards": (_in_one, False),
}


def _load(connection: Connection, run_id: str, model: Mapping[str, Any]) -> Load:
    name = model["name"]
    query = "select insert_sql from crm_migration.model_loads where run_id = %s and model = %s"
    statement = str(database.scalar(connection, query, [run_id, name]))
    plain, mark, _ = statement.partition(f"\n{_UPSERT_MARK}\n")
    if not mark:
        raise RuntimeError(f"The insert statement of {name} has no line {_UPSERT_MARK!r}")
    ranges = connection.execute(
        "select batch_no, key_lo, key_hi from crm_migration.batches where run_id = %s and model = %s order by batch_no",
        [run_id, name],
    ).fetchall()
    return Load(name, statement, plain, model["config"]["unique_key"], tuple(ranges))


def _like_a_batch(connection: Connection) -> None:
    """What the batch function sets for itself, for the ways that do without it."""
    connection.execute("set search_path = crm_build, public, extensions")
    connection.execute("set work_mem = '64MB'")
    connection.execute("set jit = off")
    # plpgsql plans each batch for its own range
    connection.execute("set plan_cache_mode = force_custom_plan")


def _make_table(connection: Connection, load: Load, *, has_key: bool) -> None:
    key = sql.SQL(", primary key ({})").format(sql.Identifier(load.unique_key)) if has_key else sql.SQL("")
    connection.execute(
        sql.SQL(
            "create table crm_build.{name} (like measured.{name} including constraints including defaults"
            " including generated including identity{key})"
        ).format(name=sql.Identifier(load.model), key=key)
    )


def _add_key(connection: Connection, load: Load) -> None:
    connection.execute(
        sql.SQL("alter table crm_build.{} add primary key ({})").format(
            sql.Identifier(load.model), sql.Identifier(load.unique_key)
        )
    )


def _plan_again(connection: Connection, run_id: str, load: Load) -> None:
    """The same batches once more, all still to do, under a run of our own."""
    _forget(connection)
    connection.execute(
        "insert into crm_migration.model_loads (run_id, model, insert_sql, insert_sql_md5, source_relation, source_key,"
        " target_oid, target_filenode)"
        " select %s, model, insert_sql, insert_sql_md5, source_relation, source_key, target_oid, target_filenode"
        " from crm_migration.model_loads where run_id = %s and model = %s",
        [_OWN, run_id, load.model],
    )
    connection.execute(
        "insert into crm_migration.batches (run_id, model, batch_no, key_lo, key_hi)"
        " select %s, model, batch_no, key_lo, key_hi from crm_migration.batches where run_id = %s and model = %s",
        [_OWN, run_id, load.model],
    )


def _forget(connection: Connection) -> None:
    connection.execute("delete from crm_migration.batches where run_id = %s", [_OWN])
    connection.execute("delete from crm_migration.model_loads where run_id = %s", [_OWN])


@contextmanager
def _prepared(connection: Connection, statement: str) -> Iterator[None]:
    """The statement, with its two parameters, as `_execute` runs it."""
    connection.execute(b"prepare one (bigint, bigint) as " + statement.encode())
    yield
    connection.execute("deallocate one")


def _execute(connection: Connection, lowest: int, highest: int) -> int:
    return connection.execute(
        sql.SQL("execute one ({}, {})").format(sql.Literal(lowest), sql.Literal(highest))
    ).rowcount
