"""O3: every legacy table is what its view or its successor shows, over every legacy column."""

from __future__ import annotations

from functools import partial

from crm_migrate import pairs
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import IMPOSSIBLE, Comparisons
from crm_migrate.oracles.oracle import Oracle, Part, Tally
from crm_migrate.pairs import Pair
from crm_migrate.settings import Settings


def _round_trips(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, comparisons: Comparisons
) -> list[Part]:
    asked = pairs.live_pairs(connection, settings, legacy)
    return [Part(partial(_round_trip_of, run_id, pair, comparisons), pair.archived) for pair in asked]


def _round_trip_of(run_id: str, pair: Pair, comparisons: Comparisons, connection: Connection) -> Tally:
    tally = Tally()
    people = pairs.changed_keys(connection, run_id, pair)
    rejected = _rejected(connection, run_id, pair.model)
    try:
        compared = comparisons.of(connection, pair)
    except IMPOSSIBLE as error:
        tally.add(0, [f"{pair.entity}: {str(error).splitlines()[0]}"])
        return tally
    tally.add(
        compared.rows,
        (
            f"{pair.entity} {key}: {difference}"
            for key, difference in compared.differences
            if key not in people and not (key in rejected and difference == "missing")
        ),
        len(people),
    )
    return tally


def _rejected(connection: Connection, run_id: str, model: str) -> frozenset[str]:
    found = connection.execute(
        "select key_value::text from crm_migration.rejected_records where run_id = %s and model = %s", [run_id, model]
    )
    return frozenset(row[0] for row in found)


ROUND_TRIP = Oracle(
    "O3", "Every legacy row comes back exactly, column by column.", "Rows do not come back as they were", _round_trips
)
