"""Which rows the legacy tables had at a moment, and in which version: what changed since is found set-based.

A row that was written by the same transaction as then is the same row, whatever was read of it in between. That
nothing was missed is proven by the books: the remembered hashes of what did not change and the hashes of what did add
up to what reading all of the table says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crm_migrate import database, parallel
from crm_migrate.database import Connection
from crm_migrate.settings import Settings


@dataclass(frozen=True)
class Changes:
    """What became of one table since its versions were remembered."""

    relation: str
    place: str
    rows: int
    changed: int


def remember(connection: Connection, label: str, relations: Sequence[str]) -> tuple[list[str], int]:
    """Remember the rows of these tables; returns those whose rows cannot be told apart, and how many rows there are."""
    rows = {
        relation: database.scalar(
            connection, "select crm_migration.remember_versions(%s, %s::regclass)", [label, relation]
        )
        for relation in relations
    }
    return [name for name, count in rows.items() if count is None], sum(count or 0 for count in rows.values())


def find(settings: Settings, label: str, relations: Sequence[str]) -> dict[str, Changes]:
    """Compare these tables with what was remembered, the largest first, two at a time."""
    with database.connect(settings) as connection:
        ordered = [
            row[0]
            for row in connection.execute(
                "select name from unnest(%s::text[]) as listed (name)"
                " order by pg_catalog.pg_relation_size(name::regclass) desc, name",
                [list(relations)],
            )
        ]
    pieces = [_comparing(label, relation) for relation in ordered]
    found = parallel.run(settings, pieces, application="crm-migrate changes")
    return {changes.relation: changes for changes in found}


def _comparing(label: str, relation: str) -> Callable[[Connection], Changes]:
    def compare(connection: Connection) -> Changes:
        changed = database.scalar(connection, "select crm_migration.find_changes(%s, %s::regclass)", [label, relation])
        place, rows = connection.execute(
            "select crm_migration.changes_name(%(label)s, %(relation)s::regclass), greatest(reltuples, 0)::bigint"
            " from pg_catalog.pg_class"
            " where oid = crm_migration.versions_name(%(label)s, %(relation)s::regclass)::regclass",
            {"label": label, "relation": relation},
        ).fetchone() or ("", 0)
        return Changes(relation, place, rows, changed)

    return compare
