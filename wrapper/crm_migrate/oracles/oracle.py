"""What an oracle is: one question about every row, in parts that are asked side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import LiteralString

from psycopg import sql

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.oracles.comparison import Comparisons
from crm_migrate.settings import Settings

EXAMPLES = 5


@dataclass(frozen=True)
class OracleResult:
    """What an oracle says; `ok` is None where it has nothing to ask."""

    id: str
    ok: bool | None
    checked_rows: int
    differences: int
    changed_since: int
    message: str
    examples: tuple[str, ...] = ()


@dataclass
class Tally:
    """Adds up what a part of an oracle found."""

    checked: int = 0
    differences: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, checked: int, differences: Iterable[str], changed_rows: int = 0) -> None:
        """Count rows that were checked, the differences among them, and rows that people changed since."""
        found = list(differences)
        self.checked += checked
        self.differences += len(found)
        self.changed += changed_rows
        self.examples += found[:EXAMPLES]


@dataclass(frozen=True)
class Part:
    """A part of an oracle's question, which is asked on any connection, and the table that makes most of its work."""

    ask: Callable[[Connection], Tally]
    about: sql.Identifier | None = None

    def size(self, connection: Connection) -> int:
        """Bytes of that table."""
        name = None if self.about is None else self.about.as_string(None)
        query = "select coalesce(pg_catalog.pg_relation_size(pg_catalog.to_regclass(%s)), 0)"
        return int(database.scalar(connection, query, [name]))


Divide = Callable[[Connection, Settings, str, LegacySchema, Comparisons], Sequence[Part]]


@dataclass(frozen=True)
class Oracle:
    """One question about every row.

    Attributes:
        id: what reports call it.
        good: what it says where it finds nothing.
        bad: what it calls what it finds.
        divide: the parts of its question, for a database as it is; none where there is nothing to ask.
        idle: what it says then.
    """

    id: str
    good: str
    bad: str
    divide: Divide
    idle: str = ""

    def result(self, tallies: Sequence[Tally]) -> OracleResult:
        """What the parts found, together."""
        if not tallies:
            return OracleResult(self.id, None, 0, 0, 0, self.idle)
        differences = sum(tally.differences for tally in tallies)
        shown = tuple([example for tally in tallies for example in tally.examples][:EXAMPLES])
        return OracleResult(
            self.id,
            differences == 0,
            sum(tally.checked for tally in tallies),
            differences,
            sum(tally.changed for tally in tallies),
            f"{self.bad}: {'; '.join(shown)}" if differences else self.good,
            shown,
        )


def text(name: str) -> LiteralString:
    """The query of an oracle, in `sql/oracles/`."""
    return (paths.SQL / "oracles" / f"{name}.sql").read_text(encoding="utf-8")
