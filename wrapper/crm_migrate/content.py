"""What tables hold, as two numbers each: rows, and a hash that does not depend on their order.

The hash is that of the fingerprint (`crm_migration.content_of`), for databases that have no control schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from crm_migrate.database import Connection

# the text of a value depends on these; row_security off makes a hidden row an error instead of a smaller number
_TEXT_FORM = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "search_path": "",
    "row_security": "off",
    "statement_timeout": "0",
}

_TABLES = """
    select nspname, relname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where relkind = 'r' and relpersistence = 'p' and nspname = any(%s)
        and not exists (
            select from pg_catalog.pg_depend
            where classid = 'pg_catalog.pg_class'::pg_catalog.regclass and objid = pg_class.oid and deptype = 'e'
        )
    order by nspname, relname
"""


@dataclass(frozen=True)
class TableContent:
    """Number of rows, and the sums of two hashes of their text."""

    rows: int
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """For a JSON document."""
        return {"rows": self.rows, "hash": self.hash}


def as_text(connection: Connection) -> None:
    """Have the values of this transaction written as text in one way, and hidden rows refused."""
    for name, value in _TEXT_FORM.items():
        connection.execute("select set_config(%s, %s, true)", [name, value])


def tables(connection: Connection, schemas: Iterable[str]) -> list[tuple[str, str]]:
    """Schema and name of every table of the schemas that a dump has."""
    return [(row[0], row[1]) for row in connection.execute(_TABLES, [list(schemas)])]


def read(connection: Connection, schemas: Iterable[str]) -> dict[str, TableContent]:
    """Count and hash every table of the schemas, in the transaction that is open, or one statement each."""
    with connection.transaction():
        as_text(connection)
        found = tables(connection, schemas)
        return {f"{schema}.{table}": _read_table(connection, schema, table) for schema, table in found}


def _read_table(connection: Connection, schema: str, table: str) -> TableContent:
    # an alias that no column has: a column of the same name would be taken for the row
    query = sql.SQL(
        "select count(*), coalesce(sum(hashtextextended(whole, 1)), 0) || ':' ||"
        " coalesce(sum(hashtextextended(whole, 2)), 0)"
        # `offset 0` keeps the text from being made once for each hash
        " from (select {row}::text as whole from only {table} as {row} offset 0) as content"
    )
    values = query.format(row=sql.Identifier("crm_migrate row"), table=sql.Identifier(schema, table))
    found = connection.execute(values).fetchone()
    assert found is not None  # noqa: S101  an aggregate has a row
    return TableContent(rows=found[0], hash=found[1])


def differences(before: Mapping[str, TableContent], after: Mapping[str, TableContent]) -> list[str]:
    """One sentence for each table that is missing, additional or different."""
    found = [f"{name} is missing." for name in before if name not in after]
    found += [f"{name} is additional." for name in after if name not in before]
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if was.rows != now.rows:
            found.append(f"{name} had {was.rows} rows and has {now.rows}.")
        elif was.hash != now.hash:
            found.append(f"{name} has the same number of rows ({was.rows}), but their content differs.")
    return sorted(found)
