"""The compatibility layer: views under the legacy names, through which an unchanged application reads and writes.

A view has exactly the columns of this installation's legacy table, in its order and with its types. Its triggers change
only what the writer changed, give back the row, and count who still writes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
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
ADOPTED = frozenset({"next_action", "next_action_date", "competition", "decision_criteria"})


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
            return sql.SQL("(successor.legacy_attributes ->> {})::{}").format(sql.Literal(self.name), _text(self.type))
        own = sql.Identifier("successor", self.target)
        return own if self.type == self.target_type else sql.SQL("{}::{}").format(own, _text(self.type))


@dataclass(frozen=True)
class View:
    """A compatibility view and the table that it stands for."""

    name: str
    successor: str
    columns: tuple[Column, ...]
    condition: sql.Composable
    timed: bool = False
    """The legacy table had no trigger that sets the time of the last change."""

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier("public", self.name)

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("public", self.successor)

    def function(self, operation: str) -> sql.Identifier:
        return sql.Identifier("crm_compat", f"{self.name}_{operation}")


@dataclass(frozen=True)
class Usage:
    """How often a role wrote through a view on a day."""

    role: str
    day: date
    relation: str
    operation: str
    writes: int
    last_at: datetime


@dataclass(frozen=True)
class Status:
    """What is there of the layer, and who still uses it."""

    until: datetime | None
    expired: bool
    views: tuple[str, ...]
    usage: tuple[Usage, ...]


@dataclass(frozen=True)
class Dropped:
    """What became of the views."""

    dropped: tuple[str, ...]
    hidden: tuple[str, ...]
    """Other views read these, so they left the API's schema instead."""


def create_views(connection: Connection, settings: Settings, legacy: LegacySchema) -> None:
    """Create the views, their triggers and the counters; in the cutover's transaction, after the archiving."""
    database.run_sql_folder(connection, "compat", rename=settings.rename)
    for view in views(connection, settings, legacy):
        _create(connection, view)
        connection.execute(
            "insert into crm_compat.promises (relation, successor, until)"
            " values (%s, %s, now() + make_interval(days => %s))",
            [view.name, view.successor, settings.compat_days],
        )
        until = database.scalar(
            connection,
            "select to_char(until at time zone 'UTC', 'YYYY-MM-DD') from crm_compat.promises where relation = %s",
            [view.name],
        )
        connection.execute(
            sql.SQL("comment on view {} is {}").format(
                view.identifier,
                sql.Literal(f"Deprecated, kept for the old application until {until}: use {view.successor}."),
            )
        )


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


def status(connection: Connection) -> Status:
    """What `compat status` shows. Reads are not counted: the API reads in read-only transactions."""
    if not database.exists(connection, "crm_compat.promises"):
        return Status(None, False, (), ())
    until, expired = connection.execute(
        "select min(until), coalesce(now() > min(until), false) from crm_compat.promises"
    ).fetchone() or (None, False)
    present = connection.execute(
        "select relation from crm_compat.promises"
        " where to_regclass(format('public.%I', relation)) is not null order by 1"
    )
    used = connection.execute(
        "select role_name, day, relation, operation, sum(writes)::bigint, max(last_at) from crm_compat.usage"
        " group by role_name, day, relation, operation order by day desc, role_name, relation, operation"
    )
    names = tuple(row[0] for row in present.fetchall())
    return Status(until, expired, names, tuple(Usage(*row) for row in used))


def drop_views(connection: Connection) -> Dropped:
    """End the layer. A view that other views read keeps working for them, out of the API's sight."""
    dropped: list[str] = []
    hidden: list[str] = []
    with connection.transaction():
        for name in status(connection).views:
            view = sql.Identifier("public", name)
            for operation in ("insert", "update", "delete"):
                connection.execute(
                    sql.SQL("drop function if exists {} cascade").format(
                        sql.Identifier("crm_compat", f"{name}_{operation}")
                    )
                )
            connection.execute(sql.SQL("drop trigger if exists crm_count on {}").format(view))
            read_by_others = database.scalar(
                connection,
                """
                select exists (
                    select from pg_catalog.pg_depend
                    inner join pg_catalog.pg_rewrite on pg_rewrite.oid = pg_depend.objid
                    where pg_depend.classid = 'pg_catalog.pg_rewrite'::regclass
                        and pg_depend.refobjid = %s::regclass
                        and pg_rewrite.ev_class <> pg_depend.refobjid
                )
                """,
                [view.as_string(connection)],
            )
            if read_by_others:
                connection.execute(sql.SQL("alter view {} set schema crm_compat").format(view))
                hidden.append(name)
            else:
                connection.execute(sql.SQL("drop view {}").format(view))
                dropped.append(name)
        connection.execute("notify pgrst, 'reload schema'")
    return Dropped(tuple(dropped), tuple(hidden))


def _deal_columns(connection: Connection, successor: sql.Identifier) -> tuple[Column, ...]:
    present = {column["name"]: column for column in _catalog(connection, successor)}
    columns = []
    for legacy in _catalog(connection, sql.Identifier("crm_archive", "deals")):
        name = str(legacy["name"])
        target: str | None = RENAMED.get(name, name)
        if name not in STOCK and (
            name in OWN or (name in ADOPTED and present[name]["type"] != legacy["type"]) or name not in present
        ):
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


def _create(connection: Connection, view: View) -> None:
    fields = sql.SQL(",\n    ").join(
        sql.SQL("{} as {}").format(column.source, column.identifier) for column in view.columns
    )
    connection.execute(
        sql.SQL(
            "create view {view} with (security_invoker = true) as\n"
            "select\n    {fields}\nfrom {table} as successor\nwhere {condition}"
        ).format(view=view.identifier, fields=fields, table=view.table, condition=view.condition)
    )
    for column in view.columns:
        if column.default is not None and column.written:
            connection.execute(
                sql.SQL("alter view {} alter column {} set default {}").format(
                    view.identifier, column.identifier, _text(column.default)
                )
            )
    bodies: dict[str, Callable[[View], sql.Composable]] = {"insert": _insert, "update": _update, "delete": _delete}
    for operation, body in bodies.items():
        connection.execute(
            sql.SQL(
                "create function {function}() returns trigger language plpgsql set search_path = '' as {body}"
            ).format(function=view.function(operation), body=_quoted(body(view), connection))
        )
        connection.execute(
            sql.SQL("comment on function {}() is {}").format(
                view.function(operation),
                sql.Literal(
                    f"Trigger: an {operation} of the old application."
                    if operation != "delete"
                    else "Trigger: a delete of the old application."
                ),
            )
        )
        connection.execute(
            sql.SQL("create trigger {} instead of {} on {} for each row execute function {}()").format(
                sql.Identifier(f"crm_{operation}"), _text(operation), view.identifier, view.function(operation)
            )
        )
    connection.execute(
        sql.SQL(
            "create trigger crm_count after insert or update or delete on {} for each statement"
            " execute function crm_compat.count_use({})"
        ).format(view.identifier, sql.Literal(view.successor))
    )


def _insert(view: View) -> sql.Composable:
    written = [column for column in view.columns if column.written and column.target is not None]
    attributes = [column for column in view.columns if column.target is None]
    names = [sql.Identifier(cast(str, column.target)) for column in written]
    values = [sql.Identifier("new", column.name) for column in written]
    if attributes:
        names.append(sql.Identifier("legacy_attributes"))
        pairs = sql.SQL(", ").join(
            sql.SQL("{}, {}::text").format(sql.Literal(column.name), sql.Identifier("new", column.name))
            for column in attributes
        )
        values.append(
            cast(sql.Identifier, sql.SQL("nullif(jsonb_strip_nulls(jsonb_build_object({})), '{{}}')").format(pairs))
        )
    statement = sql.SQL("insert into {} as successor ({}) values ({})").format(
        view.table, sql.SQL(", ").join(names), sql.SQL(", ").join(values)
    )
    return sql.SQL(
        """
declare
    given {view};
begin
{numbers}{nulls}    -- a role that may write but not read gets back what it gave
    if has_table_privilege({table}, 'select') then
        {statement} returning {fields} into given;
        return given;
    end if;
    {statement};
    return new;
end
"""
    ).format(
        view=view.identifier,
        numbers=_lines(
            sql.SQL("    new.{0} := coalesce(new.{0}, crm_compat.next_number({1}, {2}));\n").format(
                column.identifier, sql.Literal(view.table.as_string(None)), sql.Literal(column.target)
            )
            for column in view.columns
            if column.numbered
        ),
        nulls=_refuse_nulls(view),
        table=sql.Literal(view.table.as_string(None)),
        statement=statement,
        fields=_fields(view),
    )


def _update(view: View) -> sql.Composable:
    # compared as text: exact, and there for every type
    changes = _lines(
        sql.SQL(
            "    if new.{0}::text is distinct from old.{0}::text then\n"
            "        changes := changes || {1}::text;\n"
            "    end if;\n"
        ).format(
            column.identifier,
            sql.Literal(_assignment(column)),
        )
        for column in view.columns
        if column.written and column.target is not None
    )
    attributes = _lines(
        sql.SQL(
            "    if new.{0}::text is distinct from old.{0}::text then\n"
            "        attributes := attributes || jsonb_build_object({1}, new.{0}::text);\n"
            "    end if;\n"
        ).format(column.identifier, sql.Literal(column.name))
        for column in view.columns
        if column.target is None
    )
    start = sql.SQL("update {} as successor set ").format(view.table).as_string(None)
    end = sql.SQL(" where successor.id = $2 returning {}").format(_fields(view)).as_string(None)
    merge = "legacy_attributes = nullif(jsonb_strip_nulls(coalesce(successor.legacy_attributes, '{}') || $3), '{}')"
    return sql.SQL(
        """
declare
    given {view} := new;
    changes text[] := '{{}}';
    attributes jsonb := '{{}}';
    found_rows bigint;
begin
{nulls}{changes}{collected}    if attributes <> '{{}}' then
        changes := changes || {merge}::text;
    end if;
    if changes = '{{}}' then
        changes := array['id = successor.id'];
    end if;
{before}    execute {start} || array_to_string(changes, ', ') || {end} into given using given, old.id, attributes;
    get diagnostics found_rows = row_count;
{after}    -- somebody deleted it meanwhile
    if found_rows = 0 then
        return null;
    end if;
    return given;
end
"""
    ).format(
        view=view.identifier,
        nulls=_refuse_nulls(view),
        changes=changes,
        collected=attributes,
        merge=sql.Literal(merge),
        start=sql.Literal(start),
        end=sql.Literal(end),
        before=_say_view("on") if view.timed else sql.SQL(""),
        after=_say_view("") if view.timed else sql.SQL(""),
    )


def _delete(view: View) -> sql.Composable:
    return sql.SQL(
        """
begin
    delete from {table} where id = old.id;
    if not found then
        return null;
    end if;
    return old;
end
"""
    ).format(table=view.table)


def _assignment(column: Column) -> str:
    return sql.SQL("{} = ($1).{}").format(sql.Identifier(cast(str, column.target)), column.identifier).as_string(None)


def _fields(view: View) -> sql.Composable:
    return sql.SQL(", ").join(column.source for column in view.columns)


def _refuse_nulls(view: View) -> sql.Composable:
    return _lines(
        sql.SQL("    if new.{0} is null then\n        perform crm_compat.refuse_null({1}, {2});\n    end if;\n").format(
            column.identifier, sql.Literal(view.name), sql.Literal(column.name)
        )
        for column in view.columns
        if column.not_null and column.written
    )


def _say_view(value: str) -> sql.Composable:
    return sql.SQL("    perform set_config('crm_compat.through_view', {}, true);\n").format(sql.Literal(value))


def _lines(parts: Iterable[sql.Composable]) -> sql.Composable:
    return sql.SQL("").join(list(parts))


def _quoted(body: sql.Composable, connection: Connection) -> sql.Composable:
    """The body as a string literal: no dollar quote that a name of the installation could end."""
    return sql.Literal(body.as_string(connection))


def _text(text: str) -> sql.SQL:
    """Text that the catalog printed (a type, a default), which is SQL already."""
    return sql.SQL(text)
