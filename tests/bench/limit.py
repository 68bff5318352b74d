"""The bare limit: the same SELECTs of the same models, as plain statements in the same order, on as many connections.

No batches, no ledger, no upsert, no data tests: `create table`, `insert … select`, then primary keys, indexes, foreign
keys and statistics. What the program had built is put aside in the schema `measured` first, so that its SQL runs
here to the letter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any

from psycopg import sql

from bench import aside, program
from bench.program import AFTERWARDS, MAPPINGS, Measured
from crm_migrate import build_order, database, preparation, transform
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

Model = Mapping[str, Any]

_COLUMNS = """
    select attname::text as name
    from pg_catalog.pg_attribute
    where attrelid = format('measured.%%I', %s::text)::regclass
        and attnum > 0 and not attisdropped and attgenerated = ''
    order by attnum
"""


def run(connection: Connection, settings: Settings, models: Sequence[Model]) -> Measured:
    """Build everything plainly. The program's own result is in the schema `measured` afterwards."""
    aside.put_aside(connection)
    began = time.perf_counter()
    seconds = {MAPPINGS: _timed(lambda: _copy_mappings(connection))}
    connections: SimpleQueue[Connection] = SimpleQueue()
    opened = [database.connect(settings) for _ in range(transform.THREADS)]
    try:
        for one in opened:
            one.execute("set search_path = crm_build, public, extensions")
            connections.put(one)
        seconds |= _in_order(models, lambda model: _on_a_free_one(connections, model))
        seconds[AFTERWARDS] = _timed(lambda: _afterwards(connection, settings, models))
        whole = time.perf_counter() - began
    finally:
        for one in opened:
            one.close()
    return Measured(seconds, whole)


def _copy_mappings(connection: Connection) -> None:
    """The mapping files' rows, from where the program loaded them."""
    tables = database.rows(
        connection,
        """
        select relname::text as name
        from pg_catalog.pg_class
        where relnamespace = 'measured'::regnamespace and relkind = 'r'
            and relname = any (array['activity_type_mapping', 'category_principals', 'company_roles',
                'principal_distributor_agreements', 'stage_mapping', 'stage_way_back'])
        """,
    )
    for table in tables:
        name = sql.Identifier(table["name"])
        connection.execute(sql.SQL("create table crm_build.{} as table measured.{}").format(name, name))


def _in_order(models: Sequence[Model], build: Callable[[Model], float]) -> dict[str, float]:
    """Build each model as soon as its parents are there, in the program's order where there is a choice."""
    waiting = {model["unique_id"]: model for model in models}
    parents = {
        key: {parent for parent in model["depends_on"]["nodes"] if parent in waiting} for key, model in waiting.items()
    }
    lengths = build_order.chains(parents)
    built: set[str] = set()
    seconds: dict[str, float] = {}
    running: dict[Future[float], str] = {}
    with ThreadPoolExecutor(transform.THREADS) as pool:
        while waiting or running:
            ready = [key for key in waiting if parents[key] <= built]
            for key in sorted(ready, key=lambda key: (-lengths[key], key))[: transform.THREADS - len(running)]:
                running[pool.submit(build, waiting.pop(key))] = key
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(done)
                seconds[key.rsplit(".", 1)[-1]] = done.result()
                built.add(key)
    return seconds


def _on_a_free_one(connections: SimpleQueue[Connection], model: Model) -> float:
    connection = connections.get()
    try:
        return _timed(lambda: _build(connection, model))
    finally:
        connections.put(connection)


def _build(connection: Connection, model: Model) -> None:
    name = sql.Identifier(model["name"])
    query = sql.SQL(model["compiled_code"])
    kind = model["config"]["materialized"]
    if kind == "view":
        connection.execute(sql.SQL("create view crm_build.{} as {}").format(name, query))
    elif kind == "table":
        connection.execute(sql.SQL("create table crm_build.{} as {}").format(name, query))
        for index in model["config"].get("indexes") or []:
            connection.execute(
                sql.SQL("create {} index on crm_build.{} using {} ({})").format(
                    sql.SQL("unique" if index.get("unique") else ""),
                    name,
                    sql.SQL(index.get("type") or "btree"),
                    sql.SQL(", ").join(map(sql.Identifier, index["columns"])),
                )
            )
        connection.execute(sql.SQL("analyze crm_build.{}").format(name))
    else:
        connection.execute(
            sql.SQL(
                "create table crm_build.{} (like measured.{} including constraints including defaults"
                " including generated including identity)"
            ).format(name, name)
        )
        columns = sql.SQL(", ").join(
            sql.Identifier(row["name"]) for row in database.rows(connection, _COLUMNS, [model["name"]])
        )
        connection.execute(
            sql.SQL("insert into crm_build.{} ({}) select {} from ({}) as model").format(name, columns, columns, query)
        )


def _afterwards(connection: Connection, settings: Settings, models: Sequence[Model]) -> None:
    """Primary keys, and all that the program too builds after the load, on as many connections."""
    key = sql.SQL("alter table {} add primary key ({})")
    keys = [
        key.format(sql.Identifier("crm_build", model["name"]), sql.Identifier(model["config"]["unique_key"]))
        for model in models
        if model["config"]["materialized"] == "batched"
    ]
    # names of the project, which need no quotes
    preparation.side_by_side(connection, settings, [one.as_string(connection).replace('"', "") for one in keys])
    program.timed_afterwards(connection, settings)


def _timed(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
