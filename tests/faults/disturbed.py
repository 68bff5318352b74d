"""A run in this process: something happens at a place that it passes, and it has to end as if nothing had."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate import fault_points
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, persistence, rollback
from faults import sweep
from faults.sweep import Sweep

Connection = psycopg.Connection[Any]


@dataclass
class Told:
    """An observer that keeps what it is told."""

    lines: list[str]

    def run_started(self, run_id: str, kind: str, resumed: bool) -> None:
        """Keep how often a run went on."""
        self.lines.append("resumed" if resumed else "started")

    def step_started(self, name: str) -> None:
        """Ignore it."""

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


def go(scenario: str, settings: Settings) -> list[str]:
    """The command of the scenario in this process, as the program runs it; returns what its observer was told."""
    told = Told([])

    def do(connection: Connection) -> object:
        if scenario == "apply":
            return apply.run(connection, settings, told)
        return rollback.run(connection, settings, told)

    with db.connect(settings) as connection:
        persistence.going_on(connection, settings, told, do)
    return told.lines


def ends_as_uninterrupted(swept: Sweep, scenario: str, settings: Settings) -> None:
    """Oracle: everything is as after a run that nothing disturbed."""
    dsn = swept.server.dsn(sweep.database_of(settings))
    with db.connect(replace(settings, dsn=dsn)) as connection:
        found = sweep.differences(swept.uninterrupted(scenario).end, sweep.end_state(connection, settings))
    assert found == [], found


@contextmanager
def at(point: str, do: Callable[[], None]) -> Iterator[threading.Event]:
    """Within the block `do` is done once when the run passes the point; the event says that it was."""
    happened = threading.Event()
    real = fault_points.reached

    def reached(name: str) -> None:
        real(name)
        if name == point and not happened.is_set():
            happened.set()
            do()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fault_points, "reached", reached)
        yield happened


@contextmanager
def once_somebody_waits_for(other: Connection, do: Callable[[], object]) -> Iterator[None]:
    """Within the block `do` is done once, by another thread, as soon as a session waits for a lock of `other`.

    The block must not end before that has happened, or has not happened within a minute.
    """
    failed: list[BaseException] = []
    holder = other.info.backend_pid

    def watch() -> None:
        try:
            with psycopg.connect(other.info.dsn, autocommit=True) as looking:
                deadline = time.monotonic() + 60
                while not looking.execute(
                    "select pid from pg_catalog.pg_stat_activity where %s = any (pg_catalog.pg_blocking_pids(pid))",
                    [holder],
                ).fetchone():
                    assert time.monotonic() < deadline, "nobody waited"
                    time.sleep(0.02)
            do()
        except BaseException as error:
            failed.append(error)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    yield
    watching.join()
    if failed:
        raise failed[0]
