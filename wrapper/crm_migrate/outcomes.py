"""What each dry run made of each record, kept in few bytes, so that a later run can say which rows a mapping moves.

A table per run: dropping it gives its room back at once, and a run that goes on without it loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.errors import WrongState

LAST = "last"
_KEPT = 2
_MOVES = 5
_PREFIX = "outcome_"
_QUERIES = paths.SQL / "outcomes"


@dataclass(frozen=True)
class Move:
    """Rows of which one aspect went from one value to another; `sample_keys` are at most five of them."""

    before: str | None
    after: str | None
    rows: int
    sample_keys: tuple[str, ...]


@dataclass(frozen=True)
class Aspect:
    """One aspect of an entity: how many rows differ in it, and the most frequent moves.

    `only before` and `only now` are rows of which only one of the runs made anything.
    """

    entity: str
    aspect: str
    rows: int
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Comparison:
    """A run held against an earlier one, row by row; no aspects when every row has the same outcome."""

    earlier_run_id: str
    rows: int
    aspects: tuple[Aspect, ...]


def require(connection: Connection, run_id: str) -> str:
    """The run whose outcome is compared with; `last` means the newest that was kept.

    Raises:
        WrongState: its outcome is not kept.
    """
    kept = _kept(connection)
    if run_id == LAST and kept:
        return kept[0]
    if run_id in kept:
        return run_id
    listed = ", ".join(kept)
    raise WrongState(
        "No dry run's outcome is kept yet." if not kept else f"The outcome of run {run_id} is not kept.",
        why=f"Kept are those of the last {_KEPT} dry runs that built everything, until an apply starts"
        + (f": {listed}." if kept else "."),
        next="crm-migrate dry-run, then change the mapping, then crm-migrate dry-run --compare last",
    )


def keep(connection: Connection, run_id: str, compared: str | None = None) -> int:
    """Write down what the build schema holds; older outcomes go, but not the one that is compared with.

    Returns:
        How many rows were written.
    """
    with connection.transaction():
        query = sql.SQL((_QUERIES / "keep.sql").read_text(encoding="utf-8")).format(table=_table(run_id))
        rows = connection.execute(query).rowcount
        for old in _kept(connection)[_KEPT:]:
            if old != compared:
                connection.execute(sql.SQL("drop table {}").format(_table(old)))
    connection.execute(sql.SQL("analyze {}").format(_table(run_id)))
    return rows


def compare(connection: Connection, earlier: str, later: str) -> Comparison:
    """Which rows have another outcome than in the earlier run."""
    text = (_QUERIES / "compare.sql").read_text(encoding="utf-8")
    query = sql.SQL(text).format(earlier=_table(earlier), later=_table(later), moves=sql.Literal(_MOVES))
    found: dict[tuple[str, str], list[Move]] = {}
    rows: dict[tuple[str, str], int] = {}
    for row in database.rows(connection, query):
        key = (row["entity"], row["aspect"])
        rows[key] = row["aspect_rows"]
        found.setdefault(key, []).append(Move(row["before"], row["after"], row["rows"], tuple(row["sample_keys"])))
    aspects = tuple(
        Aspect(entity, aspect, rows[entity, aspect], tuple(moves)) for (entity, aspect), moves in found.items()
    )
    return Comparison(earlier, _differing(connection, earlier, later), aspects)


def forget(connection: Connection) -> None:
    """Drop all outcomes: once the migration starts there is nothing to compare, and a backup need not carry them."""
    for run_id in _kept(connection):
        connection.execute(sql.SQL("drop table if exists {}").format(_table(run_id)))


def _differing(connection: Connection, earlier: str, later: str) -> int:
    query = sql.SQL(
        "select count(*) from {} as earlier full join {} as later on earlier.entity = later.entity"
        " and earlier.key = later.key and coalesce(earlier.other_key, 0) = coalesce(later.other_key, 0)"
        " where earlier.outcome is distinct from later.outcome"
    )
    return int(database.scalar(connection, query.format(_table(earlier), _table(later))))


def _table(run_id: str) -> sql.Identifier:
    return sql.Identifier("crm_migration", _PREFIX + run_id)


def _kept(connection: Connection) -> Sequence[str]:
    """The runs whose outcomes are there, newest first: a run's id begins with its time."""
    found = connection.execute(
        "select substr(relname, %s) from pg_catalog.pg_class"
        " where relnamespace = to_regnamespace('crm_migration') and relkind = 'r' and starts_with(relname, %s)"
        ' order by relname collate "C" desc',
        [len(_PREFIX) + 1, _PREFIX],
    )
    return [row[0] for row in found]
