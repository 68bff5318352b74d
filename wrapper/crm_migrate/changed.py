"""What people changed since the verification under the lock: the oracles leave these rows out and count them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crm_migrate import database
from crm_migrate.database import Connection


@dataclass(frozen=True)
class Changed:
    """Keys of one table that people changed. `added` are those that were not there before."""

    keys: frozenset[str]
    added: frozenset[str]

    @property
    def replaced(self) -> frozenset[str]:
        """Keys that were there before, whatever became of them."""
        return self.keys - self.added


def since_release(connection: Connection, run_id: str) -> datetime | None:
    """From when on changes are people's: the end of the verification under the lock, else the unlock. None: not yet."""
    found = database.scalar(
        connection,
        """
        select coalesce(
            (
                select finished_at from crm_migration.steps
                where run_id = runs.run_id and name = 'verify' and state = 'done'
            ),
            runs.unlocked_at
        )
        from crm_migration.runs
        where run_id = %s
        """,
        [run_id],
    )
    return found if isinstance(found, datetime) else None


def keys(connection: Connection, run_id: str, *tables: str) -> Changed:
    """The keys of these tables that the journal names since the release."""
    since = since_release(connection, run_id)
    if since is None or not database.exists(connection, "crm_migration.changes"):
        return Changed(frozenset(), frozenset())
    found = connection.execute(
        "select distinct on (key) key, operation from crm_migration.changes"
        " where table_name = any(%s) and changed_at >= %s order by key, id",
        [list(tables), since],
    ).fetchall()
    return Changed(
        frozenset(key for key, _ in found), frozenset(key for key, operation in found if operation == "insert")
    )
