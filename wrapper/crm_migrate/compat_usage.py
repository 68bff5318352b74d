"""Who still uses the old names: writes are counted exactly, reads where the server keeps statistics of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection


@dataclass(frozen=True)
class Usage:
    """How often a role wrote through a view on a day (UTC)."""

    role: str
    day: date
    relation: str
    operation: str
    writes: int
    last_at: datetime


@dataclass(frozen=True)
class ReadBy:
    """How often a role read a view, since the server's statistics began."""

    role: str
    relation: str
    calls: int


@dataclass(frozen=True)
class Reads:
    """The reads, or why they cannot be counted."""

    counted: bool
    why: str
    since: datetime | None = None
    by_role: tuple[ReadBy, ...] = ()


def writes(connection: Connection) -> tuple[Usage, ...]:
    """Who wrote, newest day first."""
    if not database.exists(connection, "crm_compat.usage"):
        return ()
    found = connection.execute(
        "select role_name, day, relation, operation, sum(writes)::bigint, max(last_at) from crm_compat.usage"
        " group by role_name, day, relation, operation order by day desc, role_name, relation, operation"
    )
    return tuple(Usage(*row) for row in found)


def reads(connection: Connection, views: Sequence[str]) -> Reads:
    """Who read, by the texts of statements: those of this role are left out, since they are this program's own."""
    schema = database.scalar(
        connection,
        "select nspname::text from pg_catalog.pg_extension inner join pg_catalog.pg_namespace"
        " on pg_namespace.oid = extnamespace where extname = 'pg_stat_statements'",
    )
    if schema is None:
        return Reads(
            False, "This server does not keep statistics of statements (pg_stat_statements), so reads are unknown."
        )
    if not database.scalar(
        connection,
        "select rolsuper or pg_has_role('pg_read_all_stats', 'usage')"
        " from pg_catalog.pg_roles where rolname = current_user",
    ):
        return Reads(False, "This role may not read other roles' statements (pg_read_all_stats), so reads are unknown.")
    try:
        with connection.transaction():
            since = database.scalar(
                connection,
                sql.SQL("select stats_reset from {}").format(sql.Identifier(schema, "pg_stat_statements_info")),
            )
            found = connection.execute(
                sql.SQL(
                    """
                    select pg_roles.rolname::text, names.relation, sum(statements.calls)::bigint
                    from {} as statements
                    inner join pg_catalog.pg_database on pg_database.oid = statements.dbid
                    inner join pg_catalog.pg_roles on pg_roles.oid = statements.userid
                    inner join unnest(%s::text[]) as names (relation)
                        on statements.query ~ ('(^|[^a-zA-Z0-9_])"?' || names.relation || '"?($|[^a-zA-Z0-9_])')
                    where pg_database.datname = current_database()
                        and pg_roles.rolname <> current_user
                        and statements.query ~* '^[[:space:](]*(select|with)[[:space:]]'
                    group by 1, 2
                    order by 3 desc, 1, 2
                    """
                ).format(sql.Identifier(schema, "pg_stat_statements")),
                [list(views)],
            ).fetchall()
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        return Reads(False, f"The server keeps no statistics of statements: {str(error).splitlines()[0]}")
    return Reads(
        True,
        "Statements that name an old name, as pg_stat_statements kept them.",
        since,
        tuple(ReadBy(*row) for row in found),
    )


def functions(connection: Connection, views: Sequence[str]) -> tuple[str, ...]:
    """The installation's functions whose text names a view: they fail once it is gone."""
    found = connection.execute(
        """
        select distinct pg_proc.oid::regprocedure::text
        from pg_catalog.pg_proc
        inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_proc.pronamespace
        inner join unnest(%s::text[]) as names (relation)
            on pg_proc.prosrc ~ ('(^|[^a-zA-Z0-9_])"?' || names.relation || '"?($|[^a-zA-Z0-9_])')
        where pg_namespace.nspname not in ('pg_catalog', 'information_schema')
            and not starts_with(pg_namespace.nspname, 'crm_')
            and not exists (
                select from pg_catalog.pg_depend where pg_depend.objid = pg_proc.oid and pg_depend.deptype = 'e'
            )
        order by 1
        """,
        [list(views)],
    )
    return tuple(row[0] for row in found)
