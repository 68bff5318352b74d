"""The views under the legacy names: which columns they have, and where each comes from.

A view has exactly the columns of this installation's legacy table, in its order and with its types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings

# where a column of deals has another name now
RENAMED = {
    "company_id": "customer_organization_id",
    "expected_closing_date": "estimated_close_date",
    "stage": "legacy_stage",
}
STOCK = frozenset(
    {
        "id",
        "name",
        "company_id",
        "contact_ids",
        "category",
        "stage",
        "description",
        "amount",
        "created_at",
        "updated_at",
    }
    | {"archived_at", "expected_closing_date", "sales_id", "index"}
)
# columns of opportunities: a namesake that an installation had on deals is kept in legacy_attributes, ...
OWN = frozenset(
    {"priority", "status", "probability", "legacy_stage", "estimated_close_date", "actual_close_date"}
    | {"customer_organization_id", "principal_organization_id", "distributor_organization_id"}
    | {"commission_percent", "commission_amount", "stage_manual", "status_manual", "legacy_attributes", "deleted_at"}
)
# ... but for those that the migration leaves empty, when the type is the same
ADOPTED = {"next_action": "text", "next_action_date": "date", "competition": "text", "decision_criteria": "text"}


@dataclass(frozen=True)
class Column:
    """A column of a compatibility view."""

    name: str
    type: str
    target: str | None
    """Column of the successor; None: kept in legacy_attributes."""
    target_type: str = ""
    default: str | None = None
    not_null: bool = False
    numbered: bool = False
    """The successor gives the next number when none is given."""
    written: bool = True

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    @property
    def source(self) -> sql.Composable:
        """How the value is read."""
        if self.target is None:
            return sql.SQL("(successor.legacy_attributes ->> {})::{}").format(
                sql.Literal(self.name), catalog_text(self.type)
            )
        own = sql.Identifier("successor", self.target)
        return own if self.type == self.target_type else sql.SQL("{}::{}").format(own, catalog_text(self.type))


@dataclass(frozen=True)
class View:
    """A compatibility view and the table that it stands for."""

    name: str
    successor: str
    columns: tuple[Column, ...]
    condition: sql.Composable
    timed: bool = False
    """The legacy table had no trigger that sets the time of the last change."""
    place: str = "public"
    called: str = ""
    """Where it is not called like the legacy table."""
    owner: str = ""
    """With whose rights it reads and writes; empty: with those of whoever asks."""

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.place, self.called or self.name)

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("public", self.successor)

    @property
    def selection(self) -> sql.Composed:
        """The rows as the view shows them."""
        fields = sql.SQL(",\n    ").join(
            sql.SQL("{} as {}").format(column.source, column.identifier) for column in self.columns
        )
        return sql.SQL("select\n    {fields}\nfrom {table} as successor\nwhere {condition}").format(
            fields=fields, table=self.table, condition=self.condition
        )

    def function(self, operation: str) -> sql.Identifier:
        return sql.Identifier("crm_compat", f"{self.called or self.name}_{operation}")


def kept_aside(name: str, type_name: str) -> bool:
    """Whether the values of a column of deals go into legacy_attributes: its name means something else now."""
    return name in OWN or ADOPTED.get(name, type_name) != type_name


def views(connection: Connection, settings: Settings, legacy: LegacySchema) -> tuple[View, View]:
    """The two views of this installation, as the catalog says that their tables were."""
    opportunities = settings.rename.get("opportunities", "opportunities")
    notes = settings.rename.get("opportunity_notes", "opportunity_notes")
    deals = View(
        "deals",
        opportunities,
        _deal_columns(connection, sql.Identifier("public", opportunities)),
        sql.SQL("successor.deleted_at is null"),
        timed=True,
    )
    hidden = sql.SQL(
        "not exists (select from {} as opportunity"
        " where opportunity.id = successor.opportunity_id and opportunity.deleted_at is not null)"
    )
    return deals, View(
        legacy.deal_notes_table,
        notes,
        _note_columns(connection, sql.Identifier("public", notes)),
        hidden.format(deals.table),
    )


def _deal_columns(connection: Connection, successor: sql.Identifier) -> tuple[Column, ...]:
    present = {column["name"]: column for column in _catalog(connection, successor)}
    columns = []
    for legacy in _catalog(connection, sql.Identifier("crm_archive", "deals")):
        name = str(legacy["name"])
        target: str | None = RENAMED.get(name, name)
        if name not in STOCK and (kept_aside(name, str(legacy["type"])) or name not in present):
            target = None
        found = present[target] if target else None
        columns.append(
            Column(
                name,
                str(legacy["type"]),
                target,
                str(found["type"]) if found else "",
                default=cast("str | None", legacy["default"]),
                not_null=bool(legacy["not_null"]),
                numbered=bool(found and found["identity"] == "d"),
                written=not (found and (found["generated"] or found["identity"] == "a")),
            )
        )
    return tuple(columns)


def _note_columns(connection: Connection, successor: sql.Identifier) -> tuple[Column, ...]:
    return tuple(
        Column(
            "deal_id" if column["name"] == "opportunity_id" else str(column["name"]),
            str(column["type"]),
            str(column["name"]),
            str(column["type"]),
            default=cast("str | None", column["default"]),
            not_null=bool(column["not_null"]),
            numbered=column["identity"] == "d",
            written=not (column["generated"] or column["identity"] == "a"),
        )
        for column in _catalog(connection, successor)
    )


def _catalog(connection: Connection, table: sql.Identifier) -> list[dict[str, object]]:
    return database.rows(
        connection,
        """
        select
            pg_attribute.attname::text as name,
            pg_catalog.format_type(pg_attribute.atttypid, pg_attribute.atttypmod) as type,
            pg_attribute.attnotnull as not_null,
            pg_attribute.attidentity::text as identity,
            pg_attribute.attgenerated::text <> '' as generated,
            case
                when pg_attribute.attgenerated::text = '' then pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid)
            end as default
        from pg_catalog.pg_attribute
        left join pg_catalog.pg_attrdef
            on pg_attrdef.adrelid = pg_attribute.attrelid and pg_attrdef.adnum = pg_attribute.attnum
        where pg_attribute.attrelid = %s::regclass and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
        order by pg_attribute.attnum
        """,
        [table.as_string(connection)],
    )


def catalog_text(text: str) -> sql.SQL:
    """Text that the catalog printed (a type, a default), which is SQL already."""
    return sql.SQL(text)
