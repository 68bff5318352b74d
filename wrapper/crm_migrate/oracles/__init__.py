"""The oracles: each asks one question about every row of the migrated database, and is able to say no."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import psycopg

from crm_migrate import database, parallel
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import Comparisons
from crm_migrate.oracles.conservation import CONSERVATION
from crm_migrate.oracles.fate import FATE
from crm_migrate.oracles.ledger import LEDGER
from crm_migrate.oracles.notices import NOTICES
from crm_migrate.oracles.oracle import Oracle, OracleResult
from crm_migrate.oracles.round_trip import ROUND_TRIP
from crm_migrate.settings import Settings

ORACLES = (ROUND_TRIP, FATE, CONSERVATION, LEDGER, NOTICES)


def ask(
    connection: Connection,
    settings: Settings,
    run_id: str,
    legacy: LegacySchema,
    *,
    asked: Sequence[Oracle] = ORACLES,
    session: Mapping[str, str] | None = None,
) -> list[OracleResult]:
    """Ask oracles about one state of the database, their parts two at a time, the largest first.

    Args:
        connection: the others see what its transaction sees.
        session: parameters of the server for their connections.
    """
    idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    # no snapshot can be exported from within a transaction of a transaction
    with connection.transaction() if idle else contextlib.nullcontext():
        comparisons = Comparisons()
        parts = [
            (oracle, part)
            for oracle in asked
            for part in oracle.divide(connection, settings, run_id, legacy, comparisons)
        ]
        # a sort keeps the order of equals: of the same table, what an earlier oracle asks takes longer
        parts.sort(key=lambda one: -one[1].size(connection))
        found = parallel.run(
            settings,
            [part.ask for _, part in parts],
            database_name=connection.info.dbname,
            snapshot=database.scalar(connection, "select pg_export_snapshot()"),
            session=session,
            application="crm-migrate verify",
        )
    return [
        oracle.result([tally for (of, _), tally in zip(parts, found, strict=True) if of is oracle]) for oracle in asked
    ]


def not_applicable() -> list[OracleResult]:
    """The oracles that other commands and the tests ask."""
    return [
        OracleResult("O5", None, 0, 0, 0, "Asked by a rollback: the legacy schema is as it was."),
        OracleResult("O6", None, 0, 0, 0, "Asked by the tests: a second apply writes no row."),
        OracleResult("O8", None, 0, 0, 0, "Asked by the tests: nobody writes while the lock is held."),
    ]
