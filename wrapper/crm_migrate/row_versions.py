"""Which rows the legacy tables had at a moment, and in which version: what changed since is found set-based.

A row that was written by the same transaction as then is the same row, whatever was read of it in between. That
nothing was missed is proven by the books: the remembered hashes of what did not change and the hashes of what did add
up to what reading all of the table says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

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


def find(
    settings: Settings, label: str, relations: Sequence[str], *, snapshot: str | None = None
) -> dict[str, Changes]:
    """Compare these tables with what was remembered, the largest first, two at a time.

    Args:
        snapshot: an exported one: the tables as they are in that state.
    """
    question: LiteralString = "select crm_migration.find_changes(%(label)s, %(relation)s::regclass)"
    return _each(settings, relations, partial(_changes, question, label, ""), snapshot)


def drift(settings: Settings, earlier: str, later: str, relations: Sequence[str]) -> None:
    """Compare what was remembered of these tables at two moments, for `join`."""
    question: LiteralString = "select crm_migration.find_drift(%(label)s, %(later)s, %(relation)s::regclass)"
    _each(settings, relations, partial(_changes, question, earlier, later))


def join(settings: Settings, earlier: str, later: str, relations: Sequence[str]) -> dict[str, Changes]:
    """The changes since the earlier moment, of those that were found since the later one; no table is read again."""
    question: LiteralString = "select crm_migration.join_changes(%(label)s, %(later)s, %(relation)s::regclass)"
    return _each(settings, relations, partial(_changes, question, earlier, later))


def _each(
    settings: Settings,
    relations: Sequence[str],
    do: Callable[[str, Connection], Changes],
    snapshot: str | None = None,
) -> dict[str, Changes]:
    with database.connect(settings) as connection:
        ordered = [
            row[0]
            for row in connection.execute(
                "select name from unnest(%s::text[]) as listed (name)"
                " order by pg_catalog.pg_relation_size(name::regclass) desc, name",
                [list(relations)],
            )
        ]
    found = parallel.run(
        settings,
        [partial(do, relation) for relation in ordered],
        snapshot=snapshot,
        application="crm-migrate changes",
    )
    return {changes.relation: changes for changes in found}


def _changes(question: LiteralString, label: str, later: str, relation: str, connection: Connection) -> Changes:
    values = {"label": label, "later": later, "relation": relation}
    changed = database.scalar(connection, question, values)
    place, rows = connection.execute(
        "select crm_migration.changes_name(%(label)s, %(relation)s::regclass), greatest(reltuples, 0)::bigint"
        " from pg_catalog.pg_class"
        " where oid = crm_migration.versions_name(%(label)s, %(relation)s::regclass)::regclass",
        values,
    ).fetchone() or ("", 0)
    return Changes(relation, place, rows, changed)
