"""Who asks: roles of the API with the token of a user, as the application's server sets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]


@contextmanager
def as_role(connection: Connection, role: str = "authenticated") -> Iterator[Connection]:
    """Within the block every statement is the role's, with the token of the first user of the CRM."""
    row = connection.execute("select user_id::text from public.sales order by id limit 1").fetchone()
    claims = json.dumps({"sub": row[0] if row else None, "role": role})
    connection.execute("select set_config('request.jwt.claims', %s, false)", [claims])
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    try:
        yield connection
    finally:
        connection.execute("reset role")
        connection.execute("select set_config('request.jwt.claims', '', false)")


def one(connection: Connection, query: str, *params: Any) -> tuple[Any, ...]:
    """The only row of a query."""
    rows = connection.execute(query, params or None).fetchall()
    assert len(rows) == 1, f"{len(rows)} rows: {query}"
    row: tuple[Any, ...] = rows[0]
    return row


def value(connection: Connection, query: str, *params: Any) -> Any:
    """The only value of a query."""
    return one(connection, query, *params)[0]


def add_company(connection: Connection, name: str, organization_type: str = "prospect") -> int:
    """A company of this kind."""
    return int(
        value(
            connection,
            "insert into public.companies (name, organization_type) values (%s, %s) returning id",
            name,
            organization_type,
        )
    )


def add_contact(connection: Connection, first_name: str, company: int | None = None) -> int:
    """A contact, of this company or of none."""
    return int(
        value(
            connection,
            "insert into public.contacts (first_name, company_id) values (%s, %s) returning id",
            first_name,
            company,
        )
    )
