"""The resources of the new shape for the data provider: which table or view serves each, and an example query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from psycopg import sql

from crm_migrate.kit.catalog import Catalog

# what the API writes for an operator, and what the server understands
_OPERATORS: Mapping[str, str] = {"eq": "=", "neq": "<>", "gte": ">=", "lte": "<=", "cs": "@>"}

Filter = tuple[str, str, Any]


@dataclass(frozen=True)
class Query:
    """One example, from which both of its forms are written: as the API takes it, and as SQL."""

    relation: str
    columns: Sequence[str]
    filters: Sequence[Filter]
    order: str
    limit: int = 25

    def rest(self) -> str:
        """Path and parameters for PostgREST."""
        parameters = [("select", ",".join(self.columns))]
        parameters += [(column, _rest_value(operator, value)) for column, operator, value in self.filters]
        parameters += [("order", self.order + ".asc"), ("limit", str(self.limit))]
        return f"/{quote(self.relation)}?" + "&".join(
            f"{quote(name)}={quote(value, safe='.,(){}')}" for name, value in parameters
        )

    def statement(self) -> sql.Composed:
        """The same as SQL."""
        where = sql.SQL(" and ").join([_condition(*item) for item in self.filters])
        return sql.SQL("select {} from {} where {} order by {} limit {}").format(
            sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            sql.Identifier("public", self.relation),
            where,
            sql.Identifier(self.order),
            sql.Literal(self.limit),
        )


@dataclass(frozen=True)
class Resource:
    """A resource of the new shape."""

    name: str
    list_from: str
    replaces: str | None
    what: str
    example: Query


# name, what lists are read from, what it replaces, what a row is, an example: columns, filters, order
_RESOURCES: Sequence[tuple[str, str, str | None, str, Sequence[str], Sequence[Filter], str]] = (
    (
        "opportunities",
        "opportunities_summary",
        "deals",
        "What is to be sold; keeps the deal's id.",
        ("id", "name", "stage", "amount", "customer_name", "principal_name", "commission_amount"),
        (("stage", "eq", "proposal"), ("archived_at", "is", None)),
        "index",
    ),
    (
        "opportunity_participants",
        "opportunity_participants",
        None,
        "Which organization plays which role in an opportunity.",
        ("id", "organization_id", "role", "is_primary"),
        (("opportunity_id", "eq", 1), ("deleted_at", "is", None)),
        "role",
    ),
    (
        "opportunity_notes",
        "opportunity_notes",
        "deal_notes",
        "Notes of an opportunity; the same rows and ids as before.",
        ("id", "text", "date", "sales_id"),
        (("opportunity_id", "eq", 1),),
        "date",
    ),
    (
        "opportunity_products",
        "opportunity_products",
        None,
        "Product lines of an opportunity.",
        ("id", "product_name", "quantity", "final_price"),
        (("opportunity_id", "eq", 1), ("deleted_at", "is", None)),
        "id",
    ),
    (
        "contact_organizations",
        "contact_organizations",
        None,
        "Which organizations a contact belongs to; the primary one is also contacts.company_id.",
        ("id", "organization_id", "is_primary_organization", "role", "purchase_influence"),
        (("contact_id", "eq", 1), ("deleted_at", "is", None)),
        "is_primary_organization",
    ),
    (
        "contact_preferred_principals",
        "contact_preferred_principals",
        None,
        "Principals that a contact speaks for.",
        ("id", "principal_organization_id", "advocacy_strength"),
        (("contact_id", "eq", 1), ("advocacy_strength", "gte", 5)),
        "id",
    ),
    (
        "activities",
        "activities",
        None,
        "What happened with a contact or an organization: engagements, and interactions of an opportunity.",
        ("id", "activity_type", "interaction_type", "description", "activity_date", "opportunity_id"),
        (("contact_id", "eq", 1), ("deleted_at", "is", None)),
        "activity_date",
    ),
    (
        "interaction_participants",
        "interaction_participants",
        None,
        "Who took part in an activity.",
        ("id", "contact_id", "organization_id", "role"),
        (("activity_id", "eq", 1),),
        "id",
    ),
    (
        "products",
        "products",
        None,
        "What principals make.",
        ("id", "name", "sku", "unit_price", "is_active"),
        (("principal_organization_id", "eq", 1), ("is_active", "is", True)),
        "name",
    ),
    (
        "principal_distributor_relationships",
        "principal_distributor_relationships",
        None,
        "Which distributor sells for which principal, and for which commission.",
        ("id", "principal_organization_id", "distributor_organization_id", "status", "commission_percent"),
        (("status", "eq", "active"), ("deleted_at", "is", None)),
        "principal_organization_id",
    ),
)
_UNCHANGED = ("companies", "contacts", "tasks", "tags", "sales")


def resources(catalog: Catalog) -> list[Resource]:
    """The new resources, by the names of this installation."""
    return [
        Resource(
            catalog.name(name),
            catalog.name(list_from),
            _old_name(catalog, replaces),
            what,
            Query(catalog.name(list_from), columns, filters, order),
        )
        for name, list_from, replaces, what, columns, filters, order in _RESOURCES
    ]


def document(catalog: Catalog) -> dict[str, Any]:
    """The map as JSON: resources with examples, old names, functions."""
    found = resources(catalog)
    return {
        "resources": {
            item.name: {
                "what": item.what,
                "list_from": item.list_from,
                "write_to": item.name,
                "replaces": item.replaces,
                "example": {"rest": item.example.rest(), "sql": item.example.statement().as_string(None)},
            }
            for item in found
        },
        "renamed": {item.replaces: item.name for item in found if item.replaces},
        "unchanged": [name for name in _UNCHANGED if name in catalog.relations],
        "functions": list(catalog.functions),
    }


def _old_name(catalog: Catalog, replaces: str | None) -> str | None:
    if replaces == "deal_notes":
        return next((name for name in ("deal_notes", "dealNotes") if name in catalog.relations), replaces)
    return replaces


def _rest_value(operator: str, value: Any) -> str:
    if operator == "is":
        return "is." + {None: "null", True: "true", False: "false"}[value]
    return f"{operator}.{value}"


def _condition(column: str, operator: str, value: Any) -> sql.Composed:
    if operator == "is":
        return sql.SQL("{} is {}").format(sql.Identifier(column), sql.Literal(value))
    return sql.SQL("{} {} {}").format(sql.Identifier(column), sql.SQL(_OPERATORS[operator]), sql.Literal(value))
