"""Objects that stand on a table which is about to move: saved as text, dropped, made again against its successor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import access, database
from crm_migrate.access import AccessState
from crm_migrate.database import Connection

REBUILT = ("view", "materialized view", "function", "policy", "rule")
# of what `find` asks the catalog: what is kept beside kind, identity and statements
_DETAIL = ("schema_name", "name", "member", "table_name", "query", "grants", "columns", "address", "reads_as")
Attempt = Callable[[str, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class SavedObject:
    """One object as the control schema keeps it: the statements that make it again, and what cannot be said in them."""

    kind: str
    identity: str
    definition: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def statement(text: str) -> LiteralString:
    """Text that PostgreSQL itself wrote about an object of the catalog, as a statement."""
    return text


def save(connection: Connection, run_id: str, objects: Iterable[SavedObject]) -> None:
    """Add objects to what the run has saved, behind those that are there."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into crm_migration.saved_objects (run_id, position, kind, identity, definition, detail)
            select %s, coalesce(max(position), 0) + 1, %s, %s, %s, %s
            from crm_migration.saved_objects
            where run_id = %s
            """,
            [(run_id, item.kind, item.identity, item.definition, Jsonb(dict(item.detail)), run_id) for item in objects],
        )


def load(connection: Connection, run_id: str, *kinds: str) -> list[SavedObject]:
    """What a run saved, in the order of rebuilding."""
    return [
        SavedObject(row["kind"], row["identity"], row["definition"], row["detail"])
        for row in database.rows(
            connection,
            "select kind, identity, definition, detail from crm_migration.saved_objects"
            " where run_id = %s and kind = any(%s) order by position",
            [run_id, list(kinds)],
        )
    ]


def find(connection: Connection, roots: Sequence[str]) -> list[SavedObject]:
    """All that depends on these relations, in the order in which it can be made again."""
    found = database.rows(
        connection,
        """
        select
            dependant.kind,
            dependant.identity,
            case dependant.kind
                when 'view' then crm_migration.view_statements(dependant.object_id)
                when 'materialized view' then crm_migration.view_statements(dependant.object_id)
                when 'function' then crm_migration.function_statements(dependant.object_id)
                when 'policy' then crm_migration.policy_statements(dependant.object_id)
                when 'rule' then pg_get_ruledef(dependant.object_id)
                else ''
            end as definition,
            pg_namespace.nspname as schema_name,
            pg_class.relname as name,
            coalesce(pg_policy.polname, pg_rewrite.rulename) as member,
            coalesce(pg_policy.polrelid, pg_rewrite.ev_class)::regclass::text as table_name,
            rtrim(pg_get_viewdef(pg_class.oid), ';') as query,
            (
                select jsonb_agg(attname order by attnum) from pg_catalog.pg_attribute
                where attrelid = pg_class.oid and attnum > 0 and not attisdropped
            ) as columns,
            (pg_identify_object(dependant.class_id, dependant.object_id, 0)).identity as address,
            (
                select jsonb_agg(
                    jsonb_build_object(
                        'column', entry.column_name,
                        'grantee', case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
                        'privilege', acl.privilege_type,
                        'grantable', acl.is_grantable
                    )
                )
                from (
                    select null::text as column_name, pg_class.relacl as acl
                    union all
                    select attname::text, attacl from pg_catalog.pg_attribute where attrelid = pg_class.oid
                ) as entry
                cross join lateral pg_catalog.aclexplode(entry.acl) as acl
                where acl.grantee <> pg_class.relowner
            ) as grants,
            case
                when pg_class.relkind = 'v'
                    and not exists (
                        select from pg_catalog.pg_options_to_table(pg_class.reloptions)
                        where option_name = 'security_invoker' and option_value::boolean
                    )
                    and exists (
                        select
                        from pg_catalog.pg_rewrite as own_rule
                        inner join pg_catalog.pg_depend
                            on pg_depend.classid = 'pg_catalog.pg_rewrite'::regclass and pg_depend.objid = own_rule.oid
                        where own_rule.ev_class = pg_class.oid and pg_depend.refobjid = to_regclass('public.deals')
                    )
                    then pg_get_userbyid(pg_class.relowner)::text
            end as reads_as
        from crm_migration.dependants(%s::regclass[]) as dependant
        left join pg_catalog.pg_class
            on dependant.class_id = 'pg_catalog.pg_class'::regclass and pg_class.oid = dependant.object_id
        left join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
        left join pg_catalog.pg_policy
            on dependant.class_id = 'pg_catalog.pg_policy'::regclass and pg_policy.oid = dependant.object_id
        left join pg_catalog.pg_rewrite
            on dependant.class_id = 'pg_catalog.pg_rewrite'::regclass and pg_rewrite.oid = dependant.object_id
        order by dependant.distance, dependant.identity
        """,
        [list(roots)],
    )
    return [
        SavedObject(
            row["kind"],
            row["identity"],
            row["definition"],
            {key: row[key] for key in _DETAIL if row[key] is not None},
        )
        for row in found
    ]


def drop(connection: Connection, objects: Sequence[SavedObject], *, cascade: bool = False) -> None:
    """Drop saved objects, the most distant first."""
    behind = sql.SQL(" cascade" if cascade else "")
    for item in reversed(objects):
        if item.kind in ("policy", "rule"):
            command = sql.SQL("drop {} if exists {} on {}").format(
                sql.SQL(statement(item.kind)),
                sql.Identifier(item.detail["member"]),
                sql.SQL(statement(item.detail["table_name"])),
            )
        else:
            kind = "routine" if item.kind == "function" else item.kind
            command = sql.SQL("drop {} if exists {}").format(
                sql.SQL(statement(kind)), sql.SQL(statement(item.identity))
            )
        connection.execute(command + behind)


def rebuild(
    connection: Connection,
    objects: Sequence[SavedObject],
    locked: AccessState,
    attempt: Attempt,
    *,
    instead: Mapping[str, str] | None = None,
    under: Callable[[SavedObject], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Make saved objects again, in their order, with owner, options, comments and grants.

    Args:
        objects: what was saved.
        locked: grants as they were before the lock.
        attempt: opened around each object; says what happens when one cannot be made.
        instead: other queries for some views, by identity.
        under: opened within the attempt; what the names mean while it is made.
    """
    for item in objects:
        with attempt(item.kind, item.identity), under(item):
            definition = item.definition
            query = (instead or {}).get(item.identity)
            if query is not None:
                definition = definition.replace(item.detail["query"], query, 1)
            connection.execute(statement(definition))
            if item.kind in ("view", "materialized view"):
                grant_as_before(connection, item, locked)


def grant_as_before(connection: Connection, item: SavedObject, locked: AccessState) -> None:
    """Give a rebuilt view the grants it had: those from before the lock where the lock takes some away."""
    relation = sql.SQL(statement(item.identity))
    revoke_all(connection, item.identity)
    if item.detail["schema_name"] == "public":
        for grant in locked.grants_of(item.detail["name"]):
            access.grant_to(connection, grant, item.detail["name"])
        return
    for entry in item.detail.get("grants", []):
        columns = sql.SQL(" ({})").format(sql.Identifier(entry["column"])) if entry["column"] else sql.SQL("")
        connection.execute(
            sql.SQL("grant {}{} on {} to {}{}").format(
                sql.SQL(entry["privilege"]),
                columns,
                relation,
                sql.SQL(entry["grantee"]),
                sql.SQL(" with grant option" if entry["grantable"] else ""),
            )
        )


def revoke_all(connection: Connection, relation: str) -> None:
    """Take what default privileges gave to others than the owner."""
    connection.execute("select crm_migration.revoke_all(%s::regclass)", [relation])


def comment_constraint(connection: Connection, table: str, name: str, comment: str | None) -> None:
    """Say about a constraint that was made again what was said about it."""
    if comment:
        connection.execute(
            sql.SQL("comment on constraint {} on {} is {}").format(
                sql.Identifier(name), sql.SQL(statement(table)), sql.Literal(comment)
            )
        )
