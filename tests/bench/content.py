"""Whether both ways end in the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection

# not every type knows an equality
_DIFFERENT = """
    select count(*)
    from (
        (select {name}::text from measured.{name} except all select {name}::text from crm_build.{name})
        union all
        (select {name}::text from crm_build.{name} except all select {name}::text from measured.{name})
    ) as different
"""


def differing(connection: Connection, models: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Rows that only one of the schemas `measured` and `crm_build` has, by table; only tables that differ."""
    found = {}
    for model in models:
        if model["config"]["materialized"] == "view":
            continue
        query = sql.SQL(_DIFFERENT).format(name=sql.Identifier(model["name"]))
        rows = int(database.scalar(connection, query))
        if rows:
            found[str(model["name"])] = rows
    return found
