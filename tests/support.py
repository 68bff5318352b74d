"""What conftest files share: databases from templates, and roles put back as they were."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import database as db
from crm_migrate import demo_data
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

DEMO_CONTACTS = 300

Connection = psycopg.Connection[Any]

_numbers = itertools.count(1)


@contextmanager
def fresh_database(
    server: EmbeddedServer, *, template: str = "template0", name: str | None = None
) -> Iterator[Connection]:
    """A new database, dropped with all its sessions at the end; roles are as before afterwards."""
    name = name or f"test_{next(_numbers)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        before = _roles(admin)
        admin.execute(sql.SQL("create database {} template {}").format(identifier, sql.Identifier(template)))
    try:
        with db.connect(Settings(dsn=server.dsn(name))) as connection:
            yield connection
    finally:
        server.start()  # a test may have crashed it
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
            _restore_roles(admin, before)


def make_template(server: EmbeddedServer, generation: str, *, name: str | None = None) -> str:
    """A database with a legacy CRM and demo data, to be copied by tests."""
    name = name or f"template_{generation}"
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    with db.connect(Settings(dsn=server.dsn(name))) as connection:
        demo_data.create_schema(connection, generation)
        demo_data.load(connection, generation, contacts=DEMO_CONTACTS)
        connection.execute("vacuum analyze")
    return name


def _roles(admin: Connection) -> dict[str, tuple[bool, int, list[str] | None]]:
    query = """
        select rolname, rolcanlogin, rolconnlimit, setting.setconfig
        from pg_catalog.pg_roles
        left join pg_catalog.pg_db_role_setting as setting on setting.setrole = pg_roles.oid and setting.setdatabase = 0
        where not starts_with(rolname, 'pg_')
    """
    return {name: (login, limit, config) for name, login, limit, config in admin.execute(query)}


def _restore_roles(admin: Connection, before: dict[str, tuple[bool, int, list[str] | None]]) -> None:
    for name, now in _roles(admin).items():
        then = before.get(name, now)
        if now == then:
            continue
        role = sql.Identifier(name)
        login = sql.SQL("login" if then[0] else "nologin")
        admin.execute(sql.SQL("alter role {} {} connection limit {}").format(role, login, sql.Literal(then[1])))
        admin.execute(sql.SQL("alter role {} reset all").format(role))
        for setting in then[2] or []:
            key, value = setting.split("=", 1)
            statement = sql.SQL("alter role {} set {} = {}")
            admin.execute(statement.format(role, sql.Identifier(key), sql.Literal(value)))
