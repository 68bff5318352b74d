"""The written contract of the target schema, read from the catalog of a migrated database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crm_migrate import database, paths
from crm_migrate.database import Connection

FILE = paths.DOCS / "schema.md"

Row = Mapping[str, Any]

_INTRODUCTION = """\
# The schema after the migration

Generated from the catalog of a migrated database of generation 2026; a test compares it, so it cannot be out of date.
In a database that was of generation 2025, `opportunities.estimated_close_date` is a `timestamp with time zone`, the
notes' old name is `dealNotes`, and the tables keep what that generation had.

How it hangs together:

- `opportunities` took the place of `deals` and keeps their ids. An opportunity has one customer, and may have a
  principal and a distributor: as its columns, and as its primary rows in `opportunity_participants`. Triggers keep
  both in step.
- A contact works with any number of organizations (`contact_organizations`); the primary one is also
  `contacts.company_id`.
- What happened is in `activities`: an *interaction* belongs to an opportunity, an *engagement* to none. Tasks stay as
  they were, each with an activity of its own in step.
- A company is a principal or a distributor when it is flagged as one; a customer is neither. Triggers refuse the
  rest.
- `stage` is the new word, `legacy_stage` the old one; writing either changes the other. Probability and status follow
  the stage unless `stage_manual` or `status_manual` says that somebody set them by hand.
- Rows are deleted softly by `deleted_at`; the views leave such rows out. `contact_organizations`,
  `opportunity_participants` and the others with "at most one" count live rows only.
- Row level security: `opportunities` has the policies of `deals`, notes, companies and contacts their own; every
  other table asks the rows it belongs to, as the role that asks.
- `deals` and the notes' old name are views for the old application, for one month (see the comments on them).
"""

_TABLES = """
    select
        pg_class.oid,
        pg_class.relname::text as name,
        pg_class.relkind::text as kind,
        pg_class.relrowsecurity as secured,
        coalesce(array_to_string(pg_class.reloptions, ', '), '') as options,
        obj_description(pg_class.oid, 'pg_class') as comment
    from pg_catalog.pg_class
    where pg_class.relnamespace = 'public'::regnamespace
        and pg_class.relkind = any(%s)
        and not exists (
            select from pg_catalog.pg_depend
            where pg_depend.classid = 'pg_catalog.pg_class'::regclass
                and pg_depend.objid = pg_class.oid
                and pg_depend.deptype = 'e'
        )
    order by pg_class.relname::text collate "C"
"""

_COLUMNS = """
    select
        pg_attribute.attname::text as name,
        format_type(pg_attribute.atttypid, pg_attribute.atttypmod) as type,
        pg_attribute.attnotnull as not_null,
        case
            when pg_attribute.attidentity::text <> '' then 'identity'
            when pg_attribute.attgenerated::text <> ''
                then 'generated: ' || pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid)
            else coalesce(pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid), '')
        end as value,
        coalesce(col_description(pg_attribute.attrelid, pg_attribute.attnum), '') as comment
    from pg_catalog.pg_attribute
    left join pg_catalog.pg_attrdef
        on pg_attrdef.adrelid = pg_attribute.attrelid and pg_attrdef.adnum = pg_attribute.attnum
    where pg_attribute.attrelid = %s and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
    order by pg_attribute.attnum
"""

# not null is said with the column; newer servers have it as a constraint too
_CONSTRAINTS = """
    select conname::text as name, pg_get_constraintdef(oid) as definition
    from pg_catalog.pg_constraint
    where conrelid = %s and contype in ('p', 'u', 'c', 'f', 'x')
    order by array_position(array['p', 'u', 'c', 'x', 'f'], contype::text), conname::text collate "C"
"""

_INDEXES = """
    select
        index_class.relname::text as name,
        regexp_replace(
            pg_get_indexdef(pg_index.indexrelid), '^CREATE (UNIQUE )?INDEX \\S+ ON \\S+ USING ', '\\1'
        ) as definition
    from pg_catalog.pg_index
    inner join pg_catalog.pg_class as index_class on index_class.oid = pg_index.indexrelid
    where pg_index.indrelid = %s
        and not exists (
            select from pg_catalog.pg_constraint
            where pg_constraint.conindid = pg_index.indexrelid and pg_constraint.contype in ('p', 'u', 'x')
        )
    order by index_class.relname::text collate "C"
"""

_POLICIES = """
    select
        policyname::text as name,
        lower(cmd) as command,
        array_to_string(roles, ', ') as roles,
        coalesce(qual, '') as visible,
        coalesce(with_check, '') as accepted
    from pg_catalog.pg_policies
    where schemaname = 'public' and tablename = %s
    order by array_position(array['ALL', 'SELECT', 'INSERT', 'UPDATE', 'DELETE'], cmd), policyname::text collate "C"
"""

_TRIGGERS = """
    select
        tgname::text as name,
        regexp_replace(pg_get_triggerdef(oid), '^CREATE TRIGGER \\S+ ', '') as definition
    from pg_catalog.pg_trigger
    where tgrelid = %s and not tgisinternal and tgname <> 'crm_migrate_fence'
    order by tgname::text collate "C"
"""

_GRANTS = """
    select
        case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as grantee,
        string_agg(lower(acl.privilege_type), ', ' order by acl.privilege_type) as privileges
    from pg_catalog.pg_class
    cross join lateral pg_catalog.aclexplode(pg_class.relacl) as acl
    where pg_class.oid = %s and acl.grantee <> pg_class.relowner
    group by 1
    order by 1
"""

_FUNCTIONS = """
    select
        pg_proc.proname::text as name,
        pg_get_function_arguments(pg_proc.oid) as arguments,
        pg_get_function_result(pg_proc.oid) as result,
        case when pg_proc.prosecdef then 'definer' else 'invoker' end as security,
        coalesce(obj_description(pg_proc.oid, 'pg_proc'), '') as comment
    from pg_catalog.pg_proc
    where pg_proc.pronamespace = %s::regnamespace
        and pg_proc.prokind = 'f'
        and (pg_proc.prorettype = 'trigger'::regtype) = %s
        and obj_description(pg_proc.oid, 'pg_proc') is not null
    order by pg_proc.proname::text collate "C"
"""

_ENUMS = """
    select pg_type.typname::text as name, string_agg(pg_enum.enumlabel, ', ' order by pg_enum.enumsortorder) as labels
    from pg_catalog.pg_type
    inner join pg_catalog.pg_enum on pg_enum.enumtypid = pg_type.oid
    where pg_type.typnamespace = 'public'::regnamespace
    group by pg_type.typname
    order by pg_type.typname::text collate "C"
"""


def generate(connection: Connection) -> str:
    """The contract as Markdown, the same for every stock database of a generation."""
    parts = [_INTRODUCTION, "## Types\n", _table(["type", "values"], database.rows(connection, _ENUMS))]
    parts.append("## Tables\n")
    for table in database.rows(connection, _TABLES, [["r", "p"]]):
        parts.extend(_table_section(connection, table))
    parts.append("## Views\n")
    for view in database.rows(connection, _TABLES, [["v", "m"]]):
        parts.extend(_view_section(connection, view))
    parts.append("## Functions that the application calls\n")
    parts.extend(_function_section(database.rows(connection, _FUNCTIONS, ["public", False])))
    parts.append("## Functions behind triggers\n")
    behind = database.rows(connection, _FUNCTIONS, ["crm_compat", True])
    parts.append(_table(["function", "security", "what it does"], behind, ["name", "security", "comment"]))
    return "\n".join(parts).rstrip() + "\n"


def write(connection: Connection, file: Path = FILE) -> None:
    """Write the contract to its place in the documentation."""
    file.write_text(generate(connection), encoding="utf-8")


def _table_section(connection: Connection, table: Row) -> list[str]:
    parts = [f"### {table['name']}\n", _sentence(table["comment"])]
    columns = [
        row | {"not_null": "not null" if row["not_null"] else ""} for row in _of(connection, _COLUMNS, table["oid"])
    ]
    parts.append(_table(["column", "type", "null", "default", "meaning"], columns))
    parts.append(_list("Keys and checks", _of(connection, _CONSTRAINTS, table["oid"])))
    parts.append(_list("Indexes", _of(connection, _INDEXES, table["oid"])))
    policies = _of(connection, _POLICIES, table["name"])
    if not table["secured"]:
        parts.append("Row level security is off.\n")
    elif policies:
        parts.append(_table(["policy", "for", "roles", "visible when", "accepted when"], policies))
    else:
        parts.append("Row level security is on, without a policy.\n")
    parts.append(_list("Triggers", _of(connection, _TRIGGERS, table["oid"])))
    parts.append(_grants(connection, table["oid"]))
    return parts


def _view_section(connection: Connection, view: Row) -> list[str]:
    columns = _of(connection, _COLUMNS, view["oid"])
    return [
        f"### {view['name']}\n",
        _sentence(view["comment"]),
        f"Options: {view['options'] or 'none'}.\n",
        _table(["column", "type", "default"], columns, ["name", "type", "value"]),
        _list("Triggers", _of(connection, _TRIGGERS, view["oid"])),
        _grants(connection, view["oid"]),
    ]


def _function_section(functions: Iterable[Row]) -> list[str]:
    parts = []
    for function in functions:
        arguments = function["arguments"].replace(", ", ",\n    ")
        parts.append(f"### {function['name']}\n")
        parts.append(_sentence(function["comment"]))
        parts.append(f"```sql\n{function['name']}(\n    {arguments}\n)\nreturns {function['result']}\n```\n")
    return parts


def _of(connection: Connection, query: str, key: object) -> list[dict[str, Any]]:
    return database.rows(connection, query, [key])


def _grants(connection: Connection, oid: object) -> str:
    grants = _of(connection, _GRANTS, oid)
    return "Grants: " + "; ".join(f"{row['grantee']} {row['privileges']}" for row in grants) + ".\n" if grants else ""


def _sentence(comment: str | None) -> str:
    # the day differs from one migration to the next
    return re.sub(r"until \d{4}-\d{2}-\d{2}", "until the promised day", comment) + "\n" if comment else ""


def _table(titles: Sequence[str], rows: Sequence[Row], keys: Sequence[str] | None = None) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in rows:
        values = [row[key] for key in keys] if keys else list(row.values())
        lines.append("| " + " | ".join(_cell(value) for value in values) + " |")
    return "\n".join(lines) + "\n"


def _list(title: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    return f"{title}:\n\n" + "\n".join(f"- `{row['name']}` {_inline(row['definition'])}" for row in rows) + "\n"


def _cell(value: object) -> str:
    return _inline(value).replace("|", "\\|")


def _inline(value: object) -> str:
    return re.sub(r"\s+", " ", str(value)).strip()
