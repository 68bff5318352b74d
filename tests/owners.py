"""Roles without superuser that migrate: made by the SQL of docs/privileges.md, gone with all they own afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import paths

Connection = psycopg.Connection[Any]

ROLE = "crm_migrator"
STATEMENTS = dict(
    re.findall(r"```sql (\w+)\n(.*?)```", (paths.PROJECT / "docs/privileges.md").read_text(encoding="utf-8"), re.S)
)


@contextmanager
def documented(connection: Connection, *parts: str) -> Iterator[None]:
    """Within the block there is the role of the document, with the privileges of these parts of it."""
    made = [ROLE]
    try:
        connection.execute(STATEMENTS["role"])
        if "member" in parts:
            made.append("crm_owner")
            connection.execute("create role crm_owner")
            connection.execute(STATEMENTS["owner"].replace(ROLE, "crm_owner"))
        for part in parts:
            connection.execute(STATEMENTS[part])
        yield
    finally:
        connection.rollback()
        for role in map(sql.Identifier, made):
            connection.execute(sql.SQL("reassign owned by {} to postgres").format(role))
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))
