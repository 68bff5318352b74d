"""O2: the batches' ranges have no gap and no overlap, and their rows add up to the target's."""

from __future__ import annotations

from functools import partial

from psycopg import sql

from crm_migrate import changed, database, pairs
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import Comparisons
from crm_migrate.oracles.oracle import Oracle, Part, Tally, text
from crm_migrate.settings import Settings


def _ledgers(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, comparisons: Comparisons
) -> list[Part]:
    del legacy, comparisons
    loads = database.rows(
        connection,
        "select model, finished_at is not null as finished from crm_migration.model_loads where run_id = %s order by 1",
        [run_id],
    )
    return [
        Part(partial(_ranges, run_id, is_empty=not loads)),
        *(
            Part(
                partial(_rows_of, settings, run_id, load["model"], load["finished"]),
                pairs.successor(settings, _name_of(load["model"])),
            )
            for load in loads
        ),
    ]


def _ranges(run_id: str, connection: Connection, *, is_empty: bool) -> Tally:
    tally = Tally()
    if is_empty:
        tally.add(0, ["the ledger of this run is empty"])
    tally.add(
        0,
        (
            f"{row['model']} batch {row['batch_no']}: {row['problem']}"
            for row in database.rows(connection, sql.SQL(text("ledger_ranges")).format(run=sql.Literal(run_id)))
            if row["problem"]
        ),
    )
    return tally


def _name_of(model: str) -> str:
    # the classifications became columns of the companies: one row each
    return "companies" if model == "company_classifications" else model


def _rows_of(settings: Settings, run_id: str, model: str, finished: bool, connection: Connection) -> Tally:
    tally = Tally()
    if not finished:
        tally.add(0, [f"{model}: its load was not finished"])
    # the journal has a table's own name, whatever the installation calls it
    name = _name_of(model)
    table = pairs.successor(settings, name)
    if not database.exists(connection, table.as_string(connection)):
        tally.add(0, [f"{model}: the table {name} is not there"])
        return tally
    people = changed.keys(connection, run_id, name)
    rows = database.rows(
        connection,
        sql.SQL(text("ledger_rows")).format(
            table=table,
            key=sql.Identifier("id"),
            changed=sql.Literal(sorted(people.keys)),
            replaced=sql.Literal(sorted(people.replaced)),
            run=sql.Literal(run_id),
            model=sql.Literal(model),
        ),
    )
    tally.add(
        sum(row["present"] for row in rows),
        (
            f"{model} batch {row['batch_no']}: {row['rows_written']} written and {row['rows_rejected']} rejected as the"
            f" ledger says, {row['present']} and {row['rejected']} there"
            for row in rows
            if row["present"] != row["rows_written"] or row["rejected"] != row["rows_rejected"]
        ),
        len(people.keys),
    )
    total = database.count(connection, table) - len(people.added & _present(connection, table, people.added))
    planned = sum(row["present"] for row in rows)
    lost = len(people.replaced - _present(connection, table, people.replaced))
    if planned != total + lost:
        tally.add(0, [f"{model}: {total + lost} rows in the table, {planned} in the ledger's ranges"])
    return tally


def _present(connection: Connection, table: sql.Identifier, keys: frozenset[str]) -> frozenset[str]:
    if not keys:
        return frozenset()
    query = sql.SQL("select id::text from {} where id::text = any(%s)").format(table)
    return frozenset(row[0] for row in connection.execute(query, [sorted(keys)]))


LEDGER = Oracle(
    "O2", "The ledger's ranges are complete and add up to the tables.", "The ledger does not add up", _ledgers
)
