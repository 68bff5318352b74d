"""What a rollback cannot put into the legacy shape: one JSON object per line, readable by its owner only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from psycopg import sql

from crm_migrate import database, preflight, publish
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject, statement
from crm_migrate.settings import Settings

# what the legacy shape holds, and what the migration made of it by itself
_HELD_BY_LEGACY = {
    "contact_organizations": "origin = 'employer' and is_primary_organization and deleted_at is null and role is null"
    " and notes is null and decision_authority is null and purchase_influence = 'Unknown'"
    " and not is_primary_contact and not is_primary_decision_maker",
    "opportunity_participants": "origin = 'deal' and role = 'customer' and commission_percent is null"
    " and notes is null and territory is null and deleted_at is null",
    "activities": "legacy_task_id is not null and outcome is null and duration_minutes is null and deleted_at is null",
}


def write(
    connection: Connection,
    settings: Settings,
    run_id: str,
    folder: Path,
    objects: Sequence[SavedObject],
    *,
    all_of_it: bool,
) -> Path | None:
    """Write the rows that people touched since the cutover; None when there is nothing to write.

    Args:
        connection: in the rollback's transaction, before anything is dropped.
        settings: names of the new tables.
        run_id: becomes part of the file's name.
        folder: made when it is not there.
        objects: definitions to keep with the rows.
        all_of_it: also what the legacy shape could hold.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = _path(folder, run_id)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for item in objects:
            line = {"object": item.kind, "identity": item.identity, "definition": item.definition}
            file.write(json.dumps(line).encode() + b"\n")
        for table in (*preflight.tables(), preflight.NOTES, *publish.IN_PLACE):
            _write_table(connection, settings, table, file, all_of_it=all_of_it)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    if not size:
        path.unlink()
        return None
    return path


def append(run_id: str, folder: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """Add lines to the file that `write` made, or make one."""
    path = _path(folder, run_id)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
        for line in lines:
            file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def _path(folder: Path, run_id: str) -> Path:
    return folder / f"rollback-{run_id}.jsonl"


def _write_table(connection: Connection, settings: Settings, table: str, file: BinaryIO, *, all_of_it: bool) -> None:
    name = sql.Identifier("public", settings.rename.get(table, table))
    if not database.exists(connection, name.as_string(None)):
        return
    in_place = table in publish.IN_PLACE or table == preflight.NOTES
    shown: sql.Composable = sql.SQL("to_jsonb(changed)")
    if in_place and not all_of_it:
        added = [
            row[0]
            for row in connection.execute(
                "select detail ->> 'column' from crm_migration.saved_objects"
                " where kind = 'added column' and (detail ->> 'table')::regclass = %s::regclass",
                [name.as_string(None)],
            )
        ]
        if not added:
            return
        # the rest stays in the table
        members = [sql.SQL("{0}, changed.{1}").format(sql.Literal(column), sql.Identifier(column)) for column in added]
        shown = sql.SQL("jsonb_build_object('id', changed.id, {})").format(sql.SQL(", ").join(members))
    held = "false" if all_of_it else _HELD_BY_LEGACY.get(table, "false")
    query = sql.SQL(
        "copy (select jsonb_build_object('table', {table}, 'row', {shown})::text from {name} as changed"
        " where changed.id::text in (select key from crm_migration.changes where table_name = {table}) and not ({held})"
        " union all"
        " select jsonb_build_object('table', {table}, 'key', key, 'deleted', true)::text from crm_migration.changes"
        " where table_name = {table} and operation in ('delete', 'truncate')"
        " and not exists (select from {name} as present where present.id::text = changes.key)"
        " group by key) to stdout"
    ).format(table=sql.Literal(table), shown=shown, name=name, held=sql.SQL(statement(held)))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for block in copy:
            # the text format doubles backslashes
            file.write(bytes(block).replace(b"\\\\", b"\\"))
