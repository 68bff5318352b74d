"""Which answers of a gate still stand: those of checks that read no table that changed since they were asked.

What a check reads is told by the planner, which sees through views. A check stands only where that is sure: a function
may read anything, so a check that calls one of which nothing is known here is asked again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from psycopg import sql

from crm_migrate import database, gate_checks, seed_files
from crm_migrate.database import Connection
from crm_migrate.gate_checks import Gate
from crm_migrate.settings import Settings

# a plan writes a function's schema, but for those of PostgreSQL; these two ask how a table is made, and no row of it
_CALL = re.compile(r"(?:\w|\")\.(?:\w+|\"[^\"]+\")\(")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_OF_THE_SCHEMA = re.compile(r"\bcrm_migration\.is_(?:unique|reference)\(")

Reads = Mapping[str, frozenset[str] | None]


def read_by(connection: Connection, settings: Settings, gate: Gate) -> Reads:
    """The tables that each check of a gate reads.

    Returns:
        By code; tables as they are written in SQL, None where a function may read others.
    """
    return {
        check.code: _tables_of(connection, gate_checks.query_of(settings, check)) for check in gate_checks.read(gate)
    }


def standing(reads: Reads, unchanged: Collection[str]) -> frozenset[str]:
    """The codes of the checks that need not be asked again.

    Args:
        unchanged: the tables that nobody has written since the checks were asked, as they are written in SQL.
    """
    known = {*unchanged, *_MAPPINGS}
    return frozenset(code for code, tables in reads.items() if tables is not None and tables <= known)


def _tables_of(connection: Connection, query: str) -> frozenset[str] | None:
    plan = database.scalar(
        connection,
        sql.SQL("explain (verbose, costs off, format json) {}").format(sql.SQL(query)),  # the text of a file
    )
    parts = list(_parts(plan))
    if any(_CALL.search(_OF_THE_SCHEMA.sub("", _TEXT.sub("", part))) for part in parts if isinstance(part, str)):
        return None
    return frozenset(
        sql.Identifier(part["Schema"], part["Relation Name"]).as_string(None)
        for part in parts
        if isinstance(part, dict) and "Relation Name" in part
    )


def _parts(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, list | dict):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _parts(part)


# loaded before the lock, and told by their files: a run whose mappings changed does not go on
_MAPPINGS = frozenset(
    sql.Identifier("crm_build", name.removesuffix(".csv")).as_string(None) for name in seed_files.FILES
)
