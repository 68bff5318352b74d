"""Room for several ways in one database: each builds in `crm_build`, the program's own result waits in `measured`."""

from __future__ import annotations

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection


def put_aside(connection: Connection) -> None:
    """What the program built becomes `measured`; `crm_build` has nothing but the enum types, which both then use."""
    connection.execute("drop schema if exists measured cascade")
    connection.execute("alter schema crm_build rename to measured")
    connection.execute("create schema crm_build")
    _move_enums(connection, "measured", "crm_build")


def clear(connection: Connection) -> None:
    """What another way built goes; again nothing but the enum types is left."""
    _move_enums(connection, "crm_build", "measured")
    connection.execute("drop schema crm_build cascade")
    connection.execute("create schema crm_build")
    _move_enums(connection, "measured", "crm_build")


def _move_enums(connection: Connection, old: str, new: str) -> None:
    enums = database.rows(
        connection,
        "select typname::text as name from pg_catalog.pg_type"
        " inner join pg_catalog.pg_namespace on pg_namespace.oid = typnamespace"
        " where nspname = %s and typtype = 'e'",
        [old],
    )
    for enum in enums:
        move = sql.SQL("alter type {} set schema {}")
        connection.execute(move.format(sql.Identifier(old, enum["name"]), sql.Identifier(new)))
