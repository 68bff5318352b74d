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
    # through every stage and back: a trigger may look at any of them
    stages = [
        row[0]
        for row in connection.execute("select unnest(enum_range(null::public.opportunity_stage))::text").fetchall()
    ]
    one = f"where id = (select min(id) from {table})"
    for operation, statements in (
        ("insert", [f"insert into {table} (name, stage) values ('crm-migrate trial', 'lead')"]),
        ("update", [f"update {table} set stage = '{stage}' {one}" for stage in [*stages, *reversed(stages)]]),
        ("delete", [f"delete from {table} {one}"]),
    ):
        try:
            with _rolled_back(connection):
                for statement in statements:
                    connection.execute(statement)
                # a deferred trigger would else never fire
                connection.execute("set constraints all immediate")
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
