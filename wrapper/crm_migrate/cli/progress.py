"""Progress of a run for people: a bar on a terminal, a line now and then elsewhere. All of it comes from the ledger."""

from __future__ import annotations

import contextlib
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

import psycopg
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from crm_migrate import database, log, status
from crm_migrate.cli.terminal import stderr
from crm_migrate.errors import MigrationError

if TYPE_CHECKING:
    from crm_migrate.settings import Settings

_LINE_EVERY_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.5


class Watch:
    """An observer of a run that shows its steps and, from a connection of its own, its batches."""

    def __init__(self, settings: Settings, *, quiet: bool) -> None:
        self._settings = settings
        self._quiet = quiet
        self._console = stderr()
        self._terminal = self._console.is_terminal and not quiet
        self._progress = Progress(
            SpinnerColumn("line"),
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._terminal,
        )
        self._task: TaskID | None = None
        self._run_id: str | None = None
        self._step = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> Watch:
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._progress.stop()

    def run_started(self, run_id: str, kind: str, resumed: bool) -> None:
        """A run starts, or goes on."""
        self._run_id = run_id
        log.event("run", run_id=run_id, kind=kind, resumed=resumed)
        self.say(f"{'Going on with' if resumed else 'Starting'} {kind} {run_id}")

    def step_started(self, name: str) -> None:
        """A step of the run starts."""
        self._step = name
        log.event("step started", run_id=self._run_id, step=name)
        if self._terminal:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(name.replace("_", " "), total=None, detail="")

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        """A step of the run is done."""
        log.event("step done", run_id=self._run_id, step=name, seconds=round(seconds, 3), rows=rows)
        counted = f"  {rows:,} rows" if rows is not None else ""
        self.say(f"  {name.replace('_', ' '):<22} {seconds:7.1f} s{counted}")

    def say(self, text: str) -> None:
        """One line worth knowing."""
        if not self._quiet:
            self._console.print(text)

    def _follow(self) -> None:
        waited = 0.0
        # a connection that is lost is made again, as the run's own is
        while not self._stop.wait(_LOOK_EVERY_SECONDS):
            with (
                contextlib.suppress(psycopg.Error, MigrationError),
                database.connect(self._settings, application="crm-migrate progress") as connection,
            ):
                while not self._stop.wait(_LOOK_EVERY_SECONDS):
                    waited += _LOOK_EVERY_SECONDS
                    if self._run_id is None or (not self._terminal and waited < _LINE_EVERY_SECONDS):
                        continue
                    self._tell(status.batches(connection, self._run_id))
                    waited = 0.0

    def _tell(self, found: status.Batches | None) -> None:
        if self._terminal and self._task is not None and found is not None and self._step.startswith("transform"):
            self._progress.update(self._task, completed=found.done, total=found.total or None, detail=describe(found))
        elif not self._terminal and not self._quiet:
            print(f"  {self._step}: {describe(found) if found else 'at work'}", file=sys.stderr, flush=True)


def describe(found: status.Batches) -> str:
    """One line: model, batches, rate, time left. No time left before there is a rate."""
    if not found.total:
        return "at work"
    parts = [found.model or "", f"batch {found.done}/{found.total}"]
    if found.rows_per_second:
        parts.append(f"{found.rows_per_second:,.0f} rows/s")
    if found.eta_seconds:
        parts.append(f"{found.eta_seconds:.0f} s left")
    return ", ".join(part for part in parts if part)
