"""O7: at most one notice per person and event, for each plan and run; and each Message-ID belongs to one."""

from __future__ import annotations

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import Comparisons
from crm_migrate.oracles.oracle import Oracle, Part, Tally, text
from crm_migrate.settings import Settings


def _notices(
    connection: Connection, settings: Settings, run_id: str, legacy: LegacySchema, comparisons: Comparisons
) -> list[Part]:
    del settings, run_id, legacy, comparisons
    return [Part(_notices_told)] if database.exists(connection, "crm_migration.notices") else []


def _notices_told(connection: Connection) -> Tally:
    tally = Tally()
    found = database.rows(connection, sql.SQL(text("notices")))
    total = int(database.scalar(connection, "select count(*) from crm_migration.notices"))
    # the person is not named: the report may be passed on
    tally.add(total, (f"{row['rows']} notices of {row['event']} about {row['subject']} to one person" for row in found))
    return tally


NOTICES = Oracle(
    "O7",
    "Nobody is told anything twice.",
    "People are told the same more than once",
    _notices,
    idle="There is no outbox: nobody was told anything.",
)
