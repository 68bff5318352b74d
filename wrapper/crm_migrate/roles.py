"""The server's roles: what this one may do, and the same ones on another server."""

from __future__ import annotations

from typing import Literal

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection

_ROLES = """
    select
        rolname,
        array[
            case when rolinherit then 'inherit' else 'noinherit' end,
            case when rolcanlogin then 'login' else 'nologin' end,
            case when rolbypassrls then 'bypassrls' else 'nobypassrls' end,
            case when rolcreaterole then 'createrole' else 'nocreaterole' end,
            case when rolcreatedb then 'createdb' else 'nocreatedb' end
        ]
    from pg_catalog.pg_roles
    where not starts_with(rolname, 'pg_')
    order by rolname
"""

_MEMBERS = """
    select distinct granted.rolname, member.rolname
    from pg_catalog.pg_auth_members
    inner join pg_catalog.pg_roles as granted on granted.oid = pg_auth_members.roleid
    inner join pg_catalog.pg_roles as member on member.oid = pg_auth_members.member
    where not starts_with(granted.rolname, 'pg_') and not starts_with(member.rolname, 'pg_')
"""


def has(connection: Connection, attribute: Literal["rolsuper", "rolcreatedb"]) -> bool:
    """Whether this role has the attribute, or is a superuser."""
    query = sql.SQL("select rolsuper or {} from pg_catalog.pg_roles where rolname = current_user")
    return bool(database.scalar(connection, query.format(sql.Identifier(attribute))))


def copy(origin: Connection, target: Connection) -> None:
    """Create on another server the roles that are missing there, with memberships and without passwords."""
    members = origin.execute(_MEMBERS).fetchall()
    with target.transaction():
        existing = {row[0] for row in target.execute("select rolname from pg_catalog.pg_roles")}
        for name, attributes in origin.execute(_ROLES):
            if name not in existing:
                words = sql.SQL(" ").join(map(sql.SQL, attributes))
                target.execute(sql.SQL("create role {} {}").format(sql.Identifier(name), words))
        for group, member in members:
            if member not in existing:
                target.execute(sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(member)))
