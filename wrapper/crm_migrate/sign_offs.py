"""Sign-offs: who looked at a record after the migration, when, and what they said. One per record, all changes kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from crm_migrate import control, database
from crm_migrate.database import Connection
from crm_migrate.errors import UsageError
from crm_migrate.settings import Settings

VERDICTS = ("as expected", "wrong")
LONGEST_NAME = 200
LONGEST_NOTE = 2000
_TABLE = "crm_migration.sign_offs"


@dataclass(frozen=True)
class SignOff:
    """What somebody said of a record."""

    entity: str
    row_key: str
    verdict: str
    note: str
    signed_by: str
    signed_at: datetime


def sign(
    connection: Connection,
    settings: Settings,
    run_id: str,
    entity: str,
    row_key: str,
    *,
    verdict: str,
    signed_by: str,
    note: str = "",
) -> None:
    """Sign a record off, or change what was said of it.

    Raises:
        UsageError: no name, no such verdict, or a text that is too long.
    """
    name, said = signed_by.strip(), note.strip()
    if not name or len(name) > LONGEST_NAME:
        raise UsageError(f"A sign-off needs a name of at most {LONGEST_NAME} letters.")
    if verdict not in VERDICTS:
        raise UsageError(f"A record is {' or '.join(VERDICTS)}.")
    if len(said) > LONGEST_NOTE:
        raise UsageError(f"A note has at most {LONGEST_NOTE} letters.")
    if "\0" in name + said:
        raise UsageError("A text with the character 0 cannot be stored.")
    if not database.exists(connection, _TABLE):
        # the run was made by a version that had no sign-offs
        control.install(connection, settings)
    connection.execute(
        """
        insert into crm_migration.sign_offs (run_id, entity, row_key, verdict, note, signed_by)
        values (%s, %s, %s, %s, %s, %s)
        on conflict (run_id, entity, row_key) do update set
            verdict = excluded.verdict, note = excluded.note, signed_by = excluded.signed_by,
            signed_at = clock_timestamp()
        where (sign_offs.verdict, sign_offs.note, sign_offs.signed_by)
            is distinct from (excluded.verdict, excluded.note, excluded.signed_by)
        """,
        [run_id, entity, row_key, verdict, said, name],
    )


def of(connection: Connection, run_id: str, records: Iterable[tuple[str, str]]) -> dict[tuple[str, str], SignOff]:
    """The sign-offs of these records (entity and key) that there are."""
    wanted = list(records)
    if not database.exists(connection, _TABLE):
        return {}
    found = database.rows(
        connection,
        """
        select sign_offs.entity, sign_offs.row_key, verdict, note, signed_by, signed_at
        from crm_migration.sign_offs
        inner join unnest(%s::text[], %s::text[]) as wanted (entity, row_key) using (entity, row_key)
        where run_id = %s
        """,
        [[entity for entity, _ in wanted], [key for _, key in wanted], run_id],
    )
    return {(row["entity"], row["row_key"]): SignOff(**row) for row in found}
