"""A part of the migrated CRM as JSON, whole in itself, for the in-memory demo provider; no people's data by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.kit.catalog import Catalog, Column, Relation

_SUBSET = paths.SQL / "kit" / "subset.sql"
Row = dict[str, Any]
Fixtures = dict[str, list[Row]]
# in the order of their foreign keys: per table the columns of which each must lie in the subset
WHOLE: Mapping[str, Mapping[str, str]] = {
    "sales": {},
    "tags": {},
    "companies": {"id": "companies"},
    "contacts": {"id": "contacts"},
    "opportunities": {"id": "opportunities"},
    "opportunity_participants": {"opportunity_id": "opportunities", "organization_id": "companies"},
    "products": {"principal_organization_id": "companies"},
    "opportunity_products": {"opportunity_id": "opportunities"},
    "opportunity_notes": {"opportunity_id": "opportunities"},
    "contact_organizations": {"contact_id": "contacts", "organization_id": "companies"},
    "contact_preferred_principals": {"contact_id": "contacts", "principal_organization_id": "companies"},
    "contact_notes": {"contact_id": "contacts"},
    "tasks": {"contact_id": "contacts"},
    "activities": {"contact_id": "contacts", "organization_id": "companies", "opportunity_id": "opportunities"},
    "interaction_participants": {"activity_id": "activities", "contact_id": "contacts", "organization_id": "companies"},
    "principal_distributor_relationships": {
        "principal_organization_id": "companies",
        "distributor_organization_id": "companies",
    },
}
# texts that say nothing of anybody
_HARMLESS = frozenset(
    [
        "stage",
        "legacy_stage",
        "status",
        "category",
        "sector",
        "type",
        "role",
        "origin",
        "color",
        "priority",
        "segment",
        "gender",
        "purchase_influence",
        "organization_type",
        "activity_type",
        "interaction_type",
        "country",
        "revenue",
        "size",
        "sku",
    ]
)
_ONE = {"companies": "Company", "opportunities": "Opportunity", "products": "Product", "tags": "Tag"}
_FIRST = (
    "Ada",
    "Ben",
    "Carla",
    "Dario",
    "Elif",
    "Finn",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Luca",
    "Mila",
    "Noah",
)
_LAST = ("Berg", "Costa", "Dahl", "Egli", "Frei", "Gallo", "Huber", "Imhof", "Jansen", "Keller", "Lang", "Meier")


@dataclass(frozen=True)
class Part:
    """How many opportunities to take, and whether the people in it are to be recognized."""

    opportunities: int = 25
    real_data: bool = False


def subset(connection: Connection, catalog: Catalog, part: Part) -> Fixtures:
    """The rows by resource. Every reference leads to a row that is there, or is null; contact_ids too."""
    ids = _ids(connection, catalog, part.opportunities)
    found: Fixtures = {}
    for name, columns in WHOLE.items():
        relation = _relation(catalog, name)
        if relation is None:
            continue
        rows = _rows(connection, relation.name, columns, ids)
        ids.setdefault(name, [row["id"] for row in rows])
        found[relation.name] = [_finish(row, relation, name, ids, part) for row in rows]
    return found


def _relation(catalog: Catalog, name: str) -> Relation | None:
    older = {"contact_notes": "contactNotes"}.get(name, name)
    return catalog.relations.get(catalog.name(name)) or catalog.relations.get(older)


def _ids(connection: Connection, catalog: Catalog, limit: int) -> dict[str, list[int]]:
    tables = {
        name: sql.Identifier("public", catalog.name(name))
        for name in (
            "opportunities",
            "opportunity_participants",
            "contact_organizations",
            "contact_preferred_principals",
        )
    }
    query = sql.SQL(_SUBSET.read_text(encoding="utf-8")).format(limit=sql.Literal(limit), **tables)
    return dict(database.rows(connection, query)[0])


def _rows(
    connection: Connection, table: str, columns: Mapping[str, str], ids: Mapping[str, Sequence[int]]
) -> list[Row]:
    """Rows of which every named column lies in the subset or is null, and one of them is given."""
    inside = [
        sql.SQL("(told.{0} is null or told.{0} = any({1}))").format(
            sql.Identifier(column), sql.Literal(list(ids[entity]))
        )
        for column, entity in columns.items()
    ]
    given = [sql.SQL("told.{} is not null").format(sql.Identifier(column)) for column in columns]
    where = sql.SQL(" where {} and ({})").format(sql.SQL(" and ").join(inside), sql.SQL(" or ").join(given))
    query = sql.SQL("select to_json(told) from {} as told{} order by told.id").format(
        sql.Identifier("public", table), where if columns else sql.SQL("")
    )
    return [row[0] for row in connection.execute(query)]


def _finish(row: Row, relation: Relation, name: str, ids: Mapping[str, Sequence[int]], part: Part) -> Row:
    if name == "companies" and row.get("parent_company_id") not in ids["companies"]:
        row["parent_company_id"] = None
    if name == "opportunity_products" and row.get("product_id") not in ids["products"]:
        row["product_id"] = None
    if name == "opportunities":
        known = set(ids["contacts"])
        row["contact_ids"] = [key for key in row["contact_ids"] or () if key in known]
    if not part.real_data:
        for column in relation.columns:
            row[column.name] = _masked(row, column, name)
    return row


def _masked(row: Row, column: Column, table: str) -> Any:
    """Another value where this one may tell who somebody is; what is empty stays empty."""
    value, number = row[column.name], row["id"]
    if value is None or not isinstance(value, str | list | dict) or column.name in _HARMLESS:
        return value
    if column.element_kind == "e" or column.element.startswith(("timestamp", "date", "time")) or _is_ids(value):
        return value
    made: Any = {
        "first_name": _FIRST[number % len(_FIRST)],
        "last_name": _LAST[number % len(_LAST)],
        "email": f"person{number}@example.com",
        "email_jsonb": [{"email": f"person{number}@example.com", "type": "Work"}],
        "name": f"{_ONE.get(table, table)} {number}",
    }.get(column.name)
    if made is not None or not column.not_null:
        return made
    if column.element == "uuid":
        return f"00000000-0000-4000-8000-{number:012d}"
    return [] if column.is_array else {} if isinstance(value, dict | list) else f"{column.name} {number}"


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) or item is None for item in value)
