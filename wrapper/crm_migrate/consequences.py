"""What the foreign keys say about rows that people deleted, carried out by the rollback in the legacy shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate.database import Connection


@dataclass(frozen=True)
class Orphan:
    """An archived deal that refers to a row which went away: what it was, and whether it could stay without."""

    key: str
    row: Mapping[str, Any]
    stays: bool

    def as_line(self, foreign_key: str) -> dict[str, Any]:
        """For the export."""
        return {
            "table": "deals",
            "row": self.row,
            "because": f"{foreign_key}: what the deal referred to was deleted",
            "fate": "kept without the reference" if self.stays else "dropped",
        }


def delete_softly_deleted(connection: Connection, name: Callable[[str], sql.Identifier]) -> dict[str, list[str]]:
    """What people deleted softly is deleted for good, with the same consequences that the foreign keys state.

    Returns the keys, by table, of rows that something still refers to and may not lose: these come back to life.
    """
    revived: dict[str, list[str]] = {}
    for table in ("opportunities", "contacts", "companies"):
        keys = [
            row[0]
            for row in connection.execute(
                sql.SQL("select id from {} where deleted_at is not null order by id").format(name(table))
            )
        ]
        delete = sql.SQL("delete from {} where id = any(%s)").format(name(table))
        if _done(connection, delete, keys):
            continue
        for key in keys:
            if not _done(connection, delete, [key]):
                revive = sql.SQL("update {} set deleted_at = null where id = %s").format(name(table))
                connection.execute(revive, [key])
                revived.setdefault("deals" if table == "opportunities" else table, []).append(str(key))
    return revived


def settle_orphans(connection: Connection, foreign_key: Mapping[str, Any]) -> list[Orphan]:
    """Archived deals had no foreign keys: do now what the rule says, or what comes closest to it.

    Args:
        foreign_key: columns, parent, parent_columns and on_delete, as the cutover saved them.
    """
    return [
        Orphan(key, row, stays)
        for key, row, stays in connection.execute(
            "select * from crm_migration.settle_orphans('public.deals', %s::text[], %s::regclass, %s::text[], %s)",
            [foreign_key[part] for part in ("columns", "parent", "parent_columns", "on_delete")],
        ).fetchall()
    ]


def _done(connection: Connection, delete: sql.Composed, keys: list[Any]) -> bool:
    try:
        with connection.transaction():
            connection.execute(delete, [keys])
    except psycopg.errors.IntegrityError:
        return False
    return True
