"""The live catalog of a migrated CRM, as the kit needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crm_migrate import database, paths, publish
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

_QUERIES = paths.SQL / "kit"
_NOTES = "opportunity_notes"


@dataclass(frozen=True)
class Column:
    """A column; `element` is the type's name, of an array that of its elements, of a domain what it is made of."""

    name: str
    type: str
    is_array: bool
    element: str
    element_kind: str
    element_schema: str
    not_null: bool
    has_default: bool
    is_generated: bool
    comment: str


@dataclass(frozen=True)
class Relation:
    """A table or a view. `successor` is the new name of an old one, which goes with the compatibility layer."""

    name: str
    kind: str
    comment: str
    columns: tuple[Column, ...]
    successor: str | None = None

    def column(self, name: str) -> Column | None:
        """The column of this name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Catalog:
    """Everything in the CRM's schema, the installation's own tables and columns included."""

    relations: Mapping[str, Relation]
    enums: Mapping[tuple[str, str], tuple[str, ...]]
    functions: Sequence[Mapping[str, Any]]
    rename: Mapping[str, str]

    def name(self, table: str) -> str:
        """What a new table is called in this installation."""
        return self.rename.get(table, table)

    def table(self, table: str) -> Relation:
        """A new table by its own name."""
        return self.relations[self.name(table)]


def read(connection: Connection, settings: Settings) -> Catalog:
    """Read the catalog; no row of the CRM is read."""
    columns: dict[str, list[Column]] = {}
    heads: dict[str, tuple[str, str]] = {}
    for row in _rows(connection, "relations"):
        name = row.pop("relation")
        heads[name] = (row.pop("kind"), row.pop("relation_comment"))
        columns.setdefault(name, []).append(Column(**row))
    relations = {name: Relation(name, *heads[name], tuple(found)) for name, found in columns.items()}
    catalog = Catalog(
        relations,
        {(row["schema_name"], row["name"]): tuple(row["labels"]) for row in _rows(connection, "enums")},
        _rows(connection, "functions"),
        settings.rename,
    )
    archived = _archived_not_null(connection)
    old = {"deals": catalog.name("opportunities")}
    old |= dict.fromkeys((name for name in publish.DEAL_NOTES if name in relations), catalog.name(_NOTES))
    return replace(
        catalog,
        relations=relations
        | {
            name: _old(relations[name], relations[successor], archived)
            for name, successor in old.items()
            if name in relations and successor in relations
        },
    )


def _old(view: Relation, successor: Relation, archived: frozenset[str]) -> Relation:
    """A view's columns say nothing of nulls: the table that it stands for does."""
    required = archived if view.name == "deals" else {column.name for column in successor.columns if column.not_null}
    defaulted = {"id", "created_at", "updated_at"}

    def told(column: Column) -> Column:
        name = "opportunity_id" if column.name == "deal_id" and view.name != "deals" else column.name
        return replace(column, not_null=name in required, has_default=column.name in defaulted)

    return replace(view, columns=tuple(map(told, view.columns)), successor=successor.name)


def _archived_not_null(connection: Connection) -> frozenset[str]:
    found = connection.execute(
        "select attname::text from pg_catalog.pg_attribute"
        " where attrelid = to_regclass('crm_archive.deals') and attnum > 0 and attnotnull"
    ).fetchall()
    return frozenset(row[0] for row in found) or frozenset({"id", "name", "stage", "created_at", "updated_at"})


def _rows(connection: Connection, name: str) -> list[dict[str, Any]]:
    return database.rows(connection, (_QUERIES / f"{name}.sql").read_bytes().decode())
