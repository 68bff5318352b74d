"""Each legacy table held against what shows it today, over every legacy column: once for all oracles that ask."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from crm_migrate import database, pairs
from crm_migrate.database import Connection
from crm_migrate.pairs import Pair

# what is shown today has other columns than the archive, or is not there
IMPOSSIBLE = (psycopg.errors.DatatypeMismatch, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        rows: of the archived table.
        differences: key, and `missing`, `additional` or `different`; in the order of the keys.
    """

    rows: int
    differences: tuple[tuple[str, str], ...]

    @property
    def unmatched(self) -> list[str]:
        """The keys that are on one side only."""
        return [key for key, difference in self.differences if difference != "different"]


@dataclass
class _Comparison:
    busy: threading.Lock = field(default_factory=threading.Lock)
    found: Compared | None = None


class Comparisons:
    """The comparisons of one state of the database."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._by_entity: dict[str, _Comparison] = {}

    def of(self, connection: Connection, pair: Pair) -> Compared:
        """What differs; whoever comes while it is asked waits for the answer.

        Raises:
            psycopg.Error: one of `IMPOSSIBLE` where the two cannot be compared.
        """
        with self._busy:
            comparison = self._by_entity.setdefault(pair.entity, _Comparison())
        with comparison.busy:
            if comparison.found is None:
                comparison.found = _compare(connection, pair)
            return comparison.found


def _compare(connection: Connection, pair: Pair) -> Compared:
    columns = pairs.archived_columns(connection, pair)
    selections = [_selection(connection, columns, table) for table in (pair.archived, pair.live)]
    with connection.transaction():
        found = connection.execute(
            "select row_key, difference from crm_migration.differing_rows(%s, %s) order by length(row_key), row_key",
            selections,
        ).fetchall()
    return Compared(database.count(connection, pair.archived), tuple(found))


def _selection(connection: Connection, columns: list[str], table: sql.Composable) -> str:
    listed = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    return sql.SQL("select {} from {}").format(listed, table).as_string(connection)
