"""The legacy tables in the archive, and where each of them is today."""

from __future__ import annotations

from dataclasses import dataclass, replace

from psycopg import sql

from crm_migrate import changed, compat, compat_views
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings


@dataclass(frozen=True)
class Pair:
    """A legacy table in the archive, what shows it today, and the tables in which people change it."""

    entity: str
    archived: sql.Identifier
    live: sql.Composable
    """What shows it today, for a FROM clause."""
    journal: tuple[str, ...]
    model: str = ""
    hidden: sql.Composable | None = None
    """Query of the keys that go out of sight with a row of another table, and of the key of that row."""
    hidden_by: str = ""
    """The name of that table in the journal."""


def live_pairs(connection: Connection, settings: Settings, legacy: LegacySchema) -> list[Pair]:
    """The legacy tables and where their rows are today.

    A compatibility view that was dropped on purpose is replaced by its own query, so that nothing goes unchecked.
    """
    ended = compat.dropped(connection)
    queries = {
        view.name: sql.SQL("({}) as shown").format(view.selection)
        for view in (compat_views.views(connection, settings, legacy) if ended else ())
        if view.name in ended
    }
    names = {"deals": "deals", "deal_notes": legacy.table("deal_notes")}
    return [replace(pair, live=queries.get(names.get(pair.entity, ""), pair.live)) for pair in pairs(settings, legacy)]


def names(legacy: LegacySchema) -> list[str]:
    """The legacy tables that are compared, row by row, with what was archived of them."""
    tables = ("deals", "companies", "contacts", "deal_notes", "contact_notes", "tasks", "sales", "tags")
    return [legacy.table(name) for name in tables]


def pairs(settings: Settings, legacy: LegacySchema) -> list[Pair]:
    """The legacy tables and what has their names while the compatibility views stand."""
    deal_notes, contact_notes = legacy.table("deal_notes"), legacy.table("contact_notes")
    # the old name does not show the notes of an opportunity that was deleted softly
    hidden = sql.SQL(
        "select notes.id::text as key, opportunities.id::text as with_key from {} as notes"
        " inner join {} as opportunities on opportunities.id = notes.opportunity_id"
        " where opportunities.deleted_at is not null"
    ).format(successor(settings, "opportunity_notes"), successor(settings, "opportunities"))

    def pair(entity: str, name: str, *journal: str, model: str = "") -> Pair:
        return Pair(entity, sql.Identifier("crm_archive", name), sql.Identifier("public", name), journal, model)

    return [
        pair("deals", "deals", "opportunities", model="opportunities"),
        pair("companies", "companies", "companies"),
        pair("contacts", "contacts", "contacts"),
        replace(pair("deal_notes", deal_notes, "opportunity_notes"), hidden=hidden, hidden_by="opportunities"),
        pair("contact_notes", contact_notes, contact_notes),
        pair("tasks", "tasks", "tasks"),
        pair("sales", "sales", "sales"),
        pair("tags", "tags", "tags"),
    ]


def changed_keys(connection: Connection, run_id: str, pair: Pair) -> frozenset[str]:
    """The keys that people changed since, by themselves or by what they did to the row they belong to."""
    own = changed.keys(connection, run_id, *pair.journal).keys
    others = changed.keys(connection, run_id, pair.hidden_by).keys if pair.hidden is not None else None
    if not others:
        return own
    query = sql.SQL("select key from ({}) as hidden where with_key = any(%s)").format(pair.hidden)
    return own | {row[0] for row in connection.execute(query, [sorted(others)])}


def archived_columns(connection: Connection, pair: Pair) -> list[str]:
    """The legacy columns, in their order."""
    return [
        row[0]
        for row in connection.execute(
            "select attname::text from pg_catalog.pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            [pair.archived.as_string(connection)],
        )
    ]


def successor(settings: Settings, name: str) -> sql.Identifier:
    """A new table, by the name that this installation gives it."""
    return sql.Identifier("public", settings.rename.get(name, name))
