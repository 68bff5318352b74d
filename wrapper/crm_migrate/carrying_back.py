"""What people changed since the cutover, carried back into the legacy tables."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from crm_migrate.database import Connection

# tables that people work in under the same name before and after; contact notes have one name for each generation
_LIVE = ("companies", "contacts", "opportunity_notes", "contact_notes", "contactNotes", "tasks", "tags", "sales")


def carry(connection: Connection, opportunities: sql.Identifier) -> dict[str, dict[str, int]]:
    """Write what the view deals shows into the archived table, for every key that was touched.

    Args:
        opportunities: the new table, by the name that it has here.

    Returns:
        Per table how many rows people inserted, updated and deleted. The other tables are the same before and after,
        so that nothing is written there.
    """
    return {"deals": _deals(connection, opportunities), **dict(_counted(connection))}


def _deals(connection: Connection, opportunities: sql.Identifier) -> dict[str, int]:
    changed = [
        row[0]
        for row in connection.execute(
            "select distinct key from crm_migration.changes where table_name = 'opportunities'"
        )
    ]
    inserted, updated = connection.execute(
        "select inserted, updated"
        " from crm_migration.carry_rows('crm_archive.deals', 'public.deals', array['id'], %s::text[])",
        [changed],
    ).fetchone() or (0, 0)
    deleted = connection.execute(
        sql.SQL(
            "delete from crm_archive.deals where id::text = any(%s)"
            " and not exists (select from {} as kept where kept.id = deals.id)"
        ).format(opportunities),
        [changed],
    ).rowcount
    return {"inserted": inserted, "updated": updated, "deleted": deleted}


def _counted(connection: Connection) -> Iterator[tuple[str, dict[str, int]]]:
    for table in _LIVE:
        counts = dict(
            connection.execute(
                "select operation, count(distinct key) from crm_migration.changes where table_name = %s group by 1",
                [table],
            ).fetchall()
        )
        if counts:
            yield (
                table,
                {
                    "inserted": counts.get("insert", 0),
                    "updated": counts.get("update", 0),
                    "deleted": counts.get("delete", 0) + counts.get("truncate", 0),
                },
            )
