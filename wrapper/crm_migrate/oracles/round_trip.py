"""O3: every legacy table is what its view or its successor shows, over every legacy column."""

from __future__ import annotations

from functools import partial

import psycopg
from psycopg import sql

from crm_migrate import pairs
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.oracle import Oracle, Part, Tally, count
from crm_migrate.pairs import Pair
from crm_migrate.settings import Settings


def _round_trips(connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema) -> list[Part]:
    asked = pairs.live_pairs(connection, settings, legacy)
    return [Part(partial(_round_trip_of, run_id, pair), pair.archived) for pair in asked]


def _round_trip_of(run_id: str, pair: Pair, connection: Connection) -> Tally:
    tally = Tally()
    people = pairs.changed_keys(connection, run_id, pair)
    rejected = _rejected(connection, run_id, pair.model)
    columns = pairs.archived_columns(connection, pair)
    query = sql.SQL(
        "select row_key, difference from crm_migration.differing_rows(%s, %s)"
        " where row_key <> all(%s) and not (row_key = any(%s) and difference = 'missing')"
        " order by length(row_key), row_key"
    )
    selections = [_selection(connection, columns, table) for table in (pair.archived, pair.live)]
    try:
        with connection.transaction():
            found = connection.execute(query, [*selections, sorted(people), sorted(rejected)]).fetchall()
    except (psycopg.errors.DatatypeMismatch, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        tally.add(0, [f"{pair.entity}: {str(error).splitlines()[0]}"])
        return tally
    tally.add(
        count(connection, pair.archived),
        (f"{pair.entity} {key}: {difference}" for key, difference in found),
        len(people),
    )
    return tally


def _selection(connection: Connection, columns: list[str], table: sql.Composable) -> str:
    listed = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    return sql.SQL("select {} from {}").format(listed, table).as_string(connection)


def _rejected(connection: Connection, run_id: str, model: str) -> frozenset[str]:
    found = connection.execute(
        "select key_value::text from crm_migration.rejected_records where run_id = %s and model = %s", [run_id, model]
    )
    return frozenset(row[0] for row in found)


ROUND_TRIP = Oracle(
    "O3", "Every legacy row comes back exactly, column by column.", "Rows do not come back as they were", _round_trips
)
