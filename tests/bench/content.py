"""Whether two ways end in the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection

# not every type knows an equality, and another way may have its columns in another order
_DIFFERENT = """
    select count(*)
    from (
        (select {columns} from measured.{name} except all select {columns} from crm_build.{name})
        union all
        (select {columns} from crm_build.{name} except all select {columns} from measured.{name})
    ) as different
"""
_COLUMNS = """
    select attname::text as name
    from pg_catalog.pg_attribute
    where attrelid = format('measured.%%I', %s::text)::regclass and attnum > 0 and not attisdropped
    order by attnum
"""


def differing(
    connection: Connection, models: Sequence[Mapping[str, Any]], *, only: Sequence[str] = ()
) -> dict[str, int]:
    """Rows that only one of the schemas `measured` and `crm_build` has, by table; only tables that differ.

    Args:
        models: what was built; views are left out.
        only: names of the tables that the other way makes; empty are all.
    """
    found = {}
    for model in models:
        name = str(model["name"])
        if model["config"]["materialized"] == "view" or (only and name not in only):
            continue
        columns = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(row["name"]))
            for row in database.rows(connection, _COLUMNS, [name])
        )
        query = sql.SQL(_DIFFERENT).format(name=sql.Identifier(name), columns=columns)
        with connection.transaction():
            # both sides are sorted; nothing here is measured
            connection.execute("set local work_mem = '256MB'")
            rows = int(database.scalar(connection, query))
        if rows:
            found[name] = rows
    return found
