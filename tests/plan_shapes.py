"""The shape of a plan: its nodes, what they read, how they join. No cost, no row count, nothing of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg

from crm_migrate import database

Connection = psycopg.Connection[Any]

# as the batch function has them, and nothing that depends on how many processors there are
_SETTINGS = (
    "set search_path = crm_build, public, extensions",
    "set work_mem = '64MB'",
    "set jit = off",
    "set max_parallel_workers_per_gather = 0",
)
_TOLD = ("Join Type", "Strategy", "Relation Name", "CTE Name", "Subplan Name")


def prepare(connection: Connection) -> None:
    """Make the session plan alike everywhere."""
    for setting in _SETTINGS:
        connection.execute(setting)


def of_statement(connection: Connection, statement: str, keys: tuple[int, int] | None = None) -> str:
    """Lines, indented as the nodes hang on each other.

    Args:
        connection: prepared.
        statement: what is planned, not executed.
        keys: the values of $1 and $2.
    """
    for position, key in enumerate(keys or (), start=1):
        statement = statement.replace(f"${position}", str(key))
    plan = database.scalar(connection, f"explain (format json, costs off) {statement}".encode())  # type: ignore[arg-type]
    return "\n".join(_lines(plan[0]["Plan"], 0, _indexes(connection)))


def _indexes(connection: Connection) -> dict[str, str]:
    """Table and columns of each index: dbt gives another name each time."""
    found = database.rows(
        connection,
        "select relname::text as name, regexp_replace(pg_get_indexdef(pg_class.oid), '^.* USING ', '') as definition"
        " from pg_catalog.pg_class where relkind = 'i'",
    )
    return {index["name"]: index["definition"] for index in found}


def _lines(node: Mapping[str, Any], depth: int, indexes: Mapping[str, str]) -> Iterator[str]:
    told = [str(node[name]) for name in _TOLD if name in node]
    if "Index Name" in node:
        told.append(indexes[node["Index Name"]])
    yield "  " * depth + " · ".join([node["Node Type"], *told])
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1, indexes)
