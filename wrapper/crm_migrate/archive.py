"""The archive: every legacy table that is changed in place, as it was under the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from crm_migrate import database, dependants, fault_points
from crm_migrate.database import Connection

if TYPE_CHECKING:
    from crm_migrate.legacy import LegacySchema

SCHEMA = "crm_archive"


def tables(connection: Connection) -> list[str]:
    """The legacy tables but deals, and those of the installation that refer to them, directly or through others."""
    return [
        row[0]
        for row in connection.execute(
            """
            with recursive reached as (
                select pg_class.oid, pg_class.relname
                from pg_catalog.pg_class
                where pg_class.relnamespace = 'public'::regnamespace
                    and pg_class.relkind = 'r'
                    and pg_class.relname in (
                        'companies', 'contacts', 'deals', 'tasks', 'sales', 'tags', 'deal_notes', 'dealNotes',
                        'contact_notes', 'contactNotes', 'configuration', 'favicons_excluded_domains'
                    )
                union
                select child.oid, child.relname
                from reached
                inner join pg_catalog.pg_constraint
                    on pg_constraint.confrelid = reached.oid
                    and pg_constraint.contype = 'f'
                inner join pg_catalog.pg_class as child on child.oid = pg_constraint.conrelid and child.relkind = 'r'
                where child.relnamespace = 'public'::regnamespace
            )
            select relname::text from reached where relname <> 'deals' order by 1
            """
        )
    ]


def copy(connection: Connection, legacy: LegacySchema) -> int:
    """Copy the tables into the archive schema; returns the rows that it holds. Safe to repeat under the lock:

    a copy that is there, whole or from an earlier try, is made again.
    """
    del legacy  # the names are read from the catalog
    with connection.transaction():
        connection.execute("create schema if not exists crm_archive")
        connection.execute("revoke all on schema crm_archive from public")
        connection.execute(
            "comment on schema crm_archive is"
            " 'crm-migrate: the legacy tables as they were before the migration. Kept for 90 days.'"
        )
    total = 0
    for name in tables(connection):
        total += _copy(connection, name)
        fault_points.reached(f"archive.{name}")
    return total


def names(connection: Connection) -> list[str]:
    """The tables that the archive schema holds."""
    return [row[0] for row in connection.execute("select name from crm_migration.own_relations('crm_archive')")]


def restore(connection: Connection) -> None:
    """Exactly the rows of before. Without foreign keys meanwhile: neither order nor cascades matter then."""
    copies = [
        row[0]
        for row in connection.execute(
            "select own.name from crm_migration.own_relations('crm_archive') as own"
            " inner join crm_migration.own_relations('public') as here using (name) where here.kind = 'r'"
        )
    ]
    keys = database.rows(connection, "select * from crm_migration.foreign_keys_of(%s)", [copies])
    for key in keys:
        connection.execute(
            sql.SQL("alter table {} drop constraint {}").format(
                sql.SQL(dependants.statement(key["table_name"])), sql.Identifier(key["name"])
            )
        )
    for name in copies:
        connection.execute(
            "select crm_migration.restore_from_copy(%s::regclass, %s::regclass)",
            [sql.Identifier(schema, name).as_string(None) for schema in ("public", SCHEMA)],
        )
    for key in keys:
        connection.execute(dependants.statement(key["definition"]))
        dependants.comment_constraint(connection, key["table_name"], key["name"], key["comment"])


def _copy(connection: Connection, name: str) -> int:
    source, target = sql.Identifier("public", name), sql.Identifier(SCHEMA, name)
    with connection.transaction():
        rows = _count(connection, source)
        connection.execute(sql.SQL("drop table if exists {}").format(target))
        connection.execute(sql.SQL("create table {} as table {}").format(target, source))
        key = database.scalar(connection, "select crm_migration.key_of(%s::regclass)", [source.as_string(connection)])
        if key:
            columns = sql.SQL(", ").join(map(sql.Identifier, key))
            connection.execute(sql.SQL("alter table {} add primary key ({})").format(target, columns))
        connection.execute(
            sql.SQL("comment on table {} is {}").format(
                target, sql.Literal(f"public.{name} as it was before the migration: {rows} rows.")
            )
        )
    connection.execute(sql.SQL("analyze {}").format(target))
    return rows


def _count(connection: Connection, table: sql.Identifier) -> int:
    return int(database.scalar(connection, sql.SQL("select count(*) from {}").format(table)))
