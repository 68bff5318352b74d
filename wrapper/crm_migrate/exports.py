"""What a rollback cannot put into the legacy shape: kept for the next migration, and written into a file for people.

The rows are in the control schema first: committed with the rollback, they outlive the operator's machine. The file
holds one JSON object per line and is readable by its owner only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import database, preflight, publish
from crm_migrate.consequences import Orphan
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject
from crm_migrate.settings import Settings

# what the legacy shape holds, and what the migration makes of it by itself
_HELD_BY_LEGACY = {
    "contact_organizations": "origin = 'employer' and is_primary_organization and deleted_at is null and role is null"
    " and notes is null and decision_authority is null and purchase_influence = 'Unknown'"
    " and relationship_start_date is null and relationship_end_date is null"
    " and not is_primary_contact and not is_primary_decision_maker",
    "opportunity_participants": "origin = 'deal' and role = 'customer' and commission_percent is null"
    " and notes is null and territory is null and deleted_at is null",
    # under another number something else may refer to it
    "activities": "legacy_task_id = id and subject is null and opportunity_id is null and outcome is null"
    " and duration_minutes is null and deleted_at is null",
}


def keep(
    connection: Connection, settings: Settings, run_id: str, objects: Sequence[SavedObject], *, all_of_it: bool
) -> None:
    """Keep the rows that people touched since the cutover, in the rollback's transaction, before anything is dropped.

    Args:
        settings: names of the new tables.
        objects: definitions to keep with the rows.
        all_of_it: also what the legacy shape could hold: people's changes are discarded, and not put back later.
    """
    connection.execute("delete from crm_migration.exported_rows where run_id = %s", [run_id])
    for item in objects:
        _keep_line(
            connection,
            run_id,
            "object",
            item.kind,
            item.identity,
            {"object": item.kind, "identity": item.identity, "definition": item.definition},
        )
    for table in (*preflight.tables(), preflight.NOTES, *publish.IN_PLACE):
        _keep_table(connection, settings, run_id, table, all_of_it=all_of_it)


def keep_orphans(connection: Connection, run_id: str, foreign_key: str, orphans: Sequence[Orphan]) -> None:
    """Keep deals that the rollback drops or changes since what they referred to was deleted."""
    for orphan in orphans:
        _keep_line(connection, run_id, "orphaned", "deals", orphan.key, orphan.as_line(foreign_key))


def write(connection: Connection, run_id: str, folder: Path) -> Path | None:
    """Write what is kept into a file; None when there is nothing."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"rollback-{run_id}.jsonl"
    path.unlink(missing_ok=True)
    if not summary(connection, run_id):
        return None
    query = sql.SQL(
        """
        copy (
            select case
                when kind in ('object', 'orphaned') then content
                when kind = 'deleted' then jsonb_build_object('table', table_name, 'key', key, 'deleted', true)
                else jsonb_build_object('table', table_name, 'row', content)
            end || case when before is null then '{{}}' else jsonb_build_object('before', before) end
            from crm_migration.exported_rows
            where run_id = {}
            order by id
        ) to stdout
        """
    ).format(sql.Literal(run_id))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            for block in copy:
                # the text format doubles backslashes
                file.write(bytes(block).replace(b"\\\\", b"\\"))
        file.flush()
        os.fsync(file.fileno())
    return path


def summary(connection: Connection, run_id: str) -> dict[str, dict[str, int]]:
    """How many rows of each table are kept, by what people did with them."""
    found: dict[str, dict[str, int]] = {}
    for table, kind, count in connection.execute(
        "select table_name, kind, count(*) from crm_migration.exported_rows where run_id = %s"
        " group by 1, 2 order by 1, 2",
        [run_id],
    ):
        found.setdefault(table, {})[kind] = count
    return found


def _keep_table(connection: Connection, settings: Settings, run_id: str, table: str, *, all_of_it: bool) -> None:
    name = sql.Identifier("public", settings.rename.get(table, table)).as_string(None)
    if not database.exists(connection, name):
        return
    shown: list[str] | None = None
    left_out = ["updated_at"]
    if all_of_it:
        left_out = []
    elif table in publish.IN_PLACE or table == preflight.NOTES:
        # the rest stays in the table
        shown = [
            row[0]
            for row in connection.execute(
                "select detail ->> 'column' from crm_migration.saved_objects"
                " where run_id = %s and kind = 'added column' and to_regclass(detail ->> 'table') = %s::regclass",
                [run_id, name],
            )
        ]
        if not shown:
            return
    elif table == "opportunities":
        left_out += database.scalar(connection, "select crm_migration.columns_held_by_deals(%s::regclass)", [name])
    held = "false" if all_of_it else _HELD_BY_LEGACY.get(table, "false")
    connection.execute(
        "select crm_migration.export_rows(%s, %s, %s::regclass, %s::text[], %s, %s::text[], %s)",
        [run_id, table, name, shown, held, left_out, "kept" if all_of_it else "waiting"],
    )


def _keep_line(connection: Connection, run_id: str, kind: str, table: str, key: str, line: dict[str, object]) -> None:
    connection.execute(
        "insert into crm_migration.exported_rows (run_id, table_name, key, kind, content, state)"
        " values (%s, %s, %s, %s, %s, 'kept')",
        [run_id, table, key, kind, Jsonb(line)],
    )
