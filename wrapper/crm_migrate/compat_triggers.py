"""What the triggers of a compatibility view do: change only what the writer changed, and give back the row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from psycopg import sql

from crm_migrate.compat_views import Column, View


def insert(view: View) -> sql.Composable:
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


def update(view: View) -> sql.Composable:
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


def delete(view: View) -> sql.Composable:
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
