"""The ledger: runs and their steps. It is the only state there is, so it says what can be resumed."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import database, fault_points
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError, WrongState
from crm_migrate.lock import operator_name
from crm_migrate.settings import Settings

UNFINISHED = ("running", "stopped", "failed")


@dataclass(frozen=True)
class Run:
    """One dry run, apply or rollback, as the ledger has it."""

    run_id: str
    kind: str
    state: str
    generation: str | None
    inputs: Mapping[str, str]
    accepted: Mapping[str, str]
    dry_run_id: str | None
    operator: str
    host: str
    pid: int
    verdict: str | None
    summary: Mapping[str, Any]
    error: Mapping[str, str] | None
    started_at: datetime
    finished_at: datetime | None
    locked_at: datetime | None
    cutover_at: datetime | None
    unlocked_at: datetime | None
    rollback_until: datetime | None
    archive_until: datetime | None


@dataclass(frozen=True)
class Step:
    """One step of a run."""

    name: str
    state: str
    attempts: int
    rows: int | None
    seconds: float | None
    detail: Mapping[str, Any]
    error: str | None


@dataclass
class Work:
    """What a step tells the ledger while it runs: rows it handled, and whatever later commands want to read."""

    rows: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def new_run_id(now: datetime | None = None) -> str:
    """A name that sorts by time and that people can read out: `20261123-2140-k3f9`."""
    return f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def start(
    connection: Connection,
    settings: Settings,
    kind: str,
    steps: Sequence[str],
    *,
    generation: str | None,
    inputs: Mapping[str, str],
    accepted: Mapping[str, str] | None = None,
    dry_run_id: str | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Run:
    """Write a new run with its steps, all pending, and with all that a resumed run has to know."""
    run_id = new_run_id()
    with connection.transaction():
        connection.execute(
            """
            insert into crm_migration.runs
                (run_id, kind, state, generation, inputs, settings, accepted, dry_run_id, summary, operator, host, pid)
            values (%s, %s, 'running', %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                run_id,
                kind,
                generation,
                Jsonb(dict(inputs)),
                Jsonb(settings.public()),
                Jsonb(dict(accepted or {})),
                dry_run_id,
                Jsonb(dict(summary or {})),
                operator_name(),
                socket.gethostname(),
                os.getpid(),
            ],
        )
        connection.execute(
            """
            insert into crm_migration.steps (run_id, position, name)
            select %s, position, name from unnest(%s::text[]) with ordinality as planned (name, position)
            """,
            [run_id, list(steps)],
        )
    fault_points.reached(f"{kind}.planned")
    return get(connection, run_id)


def resume(connection: Connection, run: Run) -> Run:
    """Take an unfinished run over: from a crash, a stop or another machine."""
    set_run(
        connection, run.run_id, state="running", operator=operator_name(), host=socket.gethostname(), pid=os.getpid()
    )
    return get(connection, run.run_id)


def get(connection: Connection, run_id: str) -> Run:
    """The run of this id.

    Raises:
        WrongState: there is none.
    """
    found = _runs(connection, "run_id = %s", [run_id])
    if not found:
        raise WrongState(f"There is no run {run_id}.", next="crm-migrate status")
    return found[0]


def latest(connection: Connection, *kinds: str, states: Sequence[str] | None = None) -> Run | None:
    """The newest run of these kinds (all when none is named) and states."""
    if not database.exists(connection, "crm_migration.runs"):
        return None
    found = _runs(
        connection,
        "(%(kinds)s::text[] is null or kind = any(%(kinds)s))"
        " and (%(states)s::text[] is null or state = any(%(states)s))",
        {"kinds": list(kinds) or None, "states": None if states is None else list(states)},
    )
    return found[0] if found else None


def _runs(connection: Connection, where: LiteralString, params: Any) -> list[Run]:
    columns = sql.SQL(", ").join(map(sql.Identifier, Run.__dataclass_fields__))
    query = sql.SQL(
        "select {} from crm_migration.runs where " + where + " order by started_at desc, run_id desc limit 50"
    ).format(columns)
    return [Run(**row) for row in database.rows(connection, query, params)]


def set_run(connection: Connection, run_id: str, **values: Any) -> None:
    """Update columns of a run. `"now"` for a time means the server's clock."""
    assignments = [
        sql.SQL("{} = clock_timestamp()").format(sql.Identifier(name))
        if isinstance(value, str) and value == "now" and name.endswith("_at")
        else sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
        for name, value in values.items()
    ]
    prepared = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
    connection.execute(
        sql.SQL("update crm_migration.runs set {} where run_id = {}").format(
            sql.SQL(", ").join(assignments), sql.Placeholder("_run_id")
        ),
        {**prepared, "_run_id": run_id},
    )
    fault_points.reached(f"ledger.run.{'+'.join(values)}")


def add_to_summary(connection: Connection, run_id: str, **members: Any) -> None:
    """Add to what later commands may read of a run."""
    connection.execute(
        "update crm_migration.runs set summary = summary || %s where run_id = %s", [Jsonb(members), run_id]
    )


def steps(connection: Connection, run_id: str) -> list[Step]:
    """The steps of a run in their order."""
    return [
        Step(**row)
        for row in database.rows(
            connection,
            """
            select
                name, state, attempts, rows,
                extract(epoch from coalesce(finished_at, clock_timestamp()) - started_at)::float8 as seconds,
                detail, error
            from crm_migration.steps
            where run_id = %s
            order by position
            """,
            [run_id],
        )
    ]


def is_done(connection: Connection, run_id: str, name: str) -> bool:
    """Whether a step of the run has finished."""
    return bool(
        database.scalar(
            connection,
            "select state = 'done' from crm_migration.steps where run_id = %s and name = %s",
            [run_id, name],
        )
    )


def reopen(connection: Connection, run_id: str, *names: str) -> None:
    """Have steps done again that were done."""
    connection.execute(
        "update crm_migration.steps set state = 'pending' where run_id = %s and name = any(%s)", [run_id, list(names)]
    )


@contextmanager
def step(connection: Connection, run: Run, name: str) -> Iterator[Work]:
    """Run a step: marked running before, done or failed after, with what `Work` gathered."""
    connection.execute(
        """
        update crm_migration.steps
        set state = 'running', attempts = attempts + 1, started_at = clock_timestamp(), finished_at = null, error = null
        where run_id = %s and name = %s
        """,
        [run.run_id, name],
    )
    fault_points.reached(f"{run.kind}.{name}.started")
    work = Work()
    try:
        yield work
    except BaseException as error:
        if not connection.closed and not connection.broken:
            text = error.what if isinstance(error, MigrationError) else type(error).__name__
            _finish(connection, run, name, "failed", work, text)
        raise
    fault_points.reached(f"{run.kind}.{name}.worked")
    _finish(connection, run, name, "done", work, None)
    fault_points.reached(f"{run.kind}.{name}.done")


def _finish(connection: Connection, run: Run, name: str, state: str, work: Work, error: str | None) -> None:
    connection.execute(
        """
        update crm_migration.steps
        set state = %s, rows = %s, detail = detail || %s, error = %s, finished_at = clock_timestamp()
        where run_id = %s and name = %s
        """,
        [state, work.rows, Jsonb(work.detail), error, run.run_id, name],
    )


def run_step(connection: Connection, run: Run, name: str, do: Callable[[Work], None]) -> None:
    """Do a step unless it is done already: how a resumed run finds the place where it goes on."""
    if is_done(connection, run.run_id, name):
        return
    with step(connection, run, name) as work:
        do(work)
