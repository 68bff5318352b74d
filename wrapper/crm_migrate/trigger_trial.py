"""A trial of the triggers that the installation carried over to opportunities; only ever on a copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.settings import Settings


def run(connection: Connection, settings: Settings) -> list[dict[str, Any]]:
    """Insert, update and delete an opportunity, each rolled back; returns what failed, as blockers."""
    if "carry" not in settings.triggers.values():
        return []
    table = database.renamed("public.opportunities", settings.rename)
    troubles = []
    for operation, statement in (
        ("insert", f"insert into {table} (name, stage) values ('crm-migrate trial', 'lead')"),
        ("update", f"update {table} set stage = 'closed_won' where id = (select min(id) from {table})"),
        ("delete", f"delete from {table} where id = (select max(id) from {table})"),
    ):
        try:
            with _rolled_back(connection):
                connection.execute(statement)
        except psycopg.Error as error:
            troubles.append(
                {
                    "code": "triggers.carried_fails",
                    "entity": "deals",
                    "message": f"A carried trigger fails on {operation}: {str(error).splitlines()[0]}",
                    "hint": "Decide 'drop' for it in the setting triggers, or mend its function.",
                }
            )
    return troubles


class _Undo(Exception):
    pass


@contextmanager
def _rolled_back(connection: Connection) -> Iterator[None]:
    try:
        with connection.transaction():
            yield
            raise _Undo
    except _Undo:
        pass
