"""What everybody may know of a migration: how far it is, when it ends. No names, no internals, no error texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from crm_migrate import database, ledger, lock, status
from crm_migrate.database import Connection
from crm_migrate.ledger import Run, Step
from crm_migrate.notices import schedule
from crm_migrate.notices.schedule import Window
from crm_migrate.web import wording
from crm_migrate.web.wording import State

# a plan that nobody acted on: so long it is not yet called late
_GRACE = timedelta(minutes=10)


class Phase(BaseModel):
    """One of the few things that are done, in their order."""

    model_config = ConfigDict(frozen=True)
    name: str = Field(description="What is done, for people.")
    state: Literal["done", "current", "to do"]


class PublicStatus(BaseModel):
    """The state of the move. Times are ISO 8601 in UTC, by the database server's clock."""

    model_config = ConfigDict(frozen=True)
    state: State = Field(description="One word for programs.")
    closed: bool = Field(description="Nobody can write in the CRM at the moment.")
    headline: str = Field(description="One sentence for people.")
    message: str = Field(description="What it means for them.")
    phase: str | None = Field(None, description="What is done at the moment.")
    phases: tuple[Phase, ...] = Field((), description="All phases in their order; empty when nothing runs.")
    batch: int | None = Field(None, description="Batches of records that are built, while records are built.")
    batches: int | None = Field(None, description="Batches known so far; may grow.")
    percent: int | None = Field(None, description="Share of the work that is done; never falls during a run.")
    eta_seconds: int | None = Field(None, description="Seconds until the CRM opens; null before there is a rate.")
    planned_start: datetime | None = Field(None, description="When the move is planned to start.")
    planned_end: datetime | None = Field(None, description="When it is planned to be over.")
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = Field(description="When this was read from the database.")
    stale: bool = Field(False, description="The database could not be read lately: the state may be an older one.")

    @property
    def badge(self) -> str:
        """The state as people read it."""
        return wording.BADGES[self.state]

    @property
    def time_left(self) -> str | None:
        """The time left, in words."""
        return None if self.eta_seconds is None else wording.duration(self.eta_seconds)

    @property
    def starts_in(self) -> str | None:
        """The time until the planned start, in words."""
        if self.planned_start is None or self.planned_start <= self.updated_at:
            return None
        return wording.duration((self.planned_start - self.updated_at).total_seconds())


@dataclass(frozen=True)
class Reading:
    """One look at the control schema: what everybody may see, and what the server itself has to know."""

    status: PublicStatus
    migrated: bool
    rolled_back: bool
    rollback_until: datetime | None


def read(connection: Connection) -> Reading:
    """Where the newest apply or rollback stands. Writes nothing; a dry run is nobody's business."""
    now: datetime = database.scalar(connection, "select clock_timestamp()")
    run = ledger.latest(connection, "apply", "rollback")
    closed = lock.owner(connection) is not None
    plan = schedule.current(connection)
    if run is None:
        shown = _before(now, plan, closed)
    elif run.state == "running" and status.is_at_work(connection):
        shown = _under_way(connection, now, run, plan, closed)
    else:
        shown = _after(now, run, plan, closed)
    done = ledger.latest(connection, "apply", states=("completed", *ledger.UNFINISHED)) if run else None
    migrated = done is not None and done.cutover_at is not None
    return Reading(
        status=shown,
        migrated=migrated,
        rolled_back=run is not None and run.kind == "rollback" and run.state == "completed",
        rollback_until=done.rollback_until if done is not None else None,
    )


def _before(now: datetime, plan: Window | None, closed: bool) -> PublicStatus:
    if closed:
        return _said("in_progress", wording.MAINTENANCE, now, closed=True)
    if plan is None:
        return _said("not_scheduled", wording.NOT_SCHEDULED, now)
    late = now > plan.starts_at + _GRACE
    return _said(
        "delayed" if late else "scheduled",
        wording.LATE if late else wording.SCHEDULED,
        now,
        planned_start=plan.starts_at,
        planned_end=plan.ends_at,
    )


def _under_way(connection: Connection, now: datetime, run: Run, plan: Window | None, closed: bool) -> PublicStatus:
    steps = ledger.steps(connection, run.run_id)
    batches = status.batches(connection, run.run_id)
    running = _running(steps)
    verifying = bool(running & wording.VERIFYING_STEPS)
    phases = _phases(run, steps, running)
    building = any(name.startswith("transform") for name in running) and batches is not None and batches.total > 0
    back = run.kind == "rollback"
    said = wording.GOING_BACK if back else wording.VERIFYING if verifying else wording.MOVING
    if not closed and not back and run.locked_at is None:
        said = wording.PREPARING
    return _said(
        "verifying" if verifying else "in_progress",
        said,
        now,
        closed=closed,
        phase=next((phase.name for phase in reversed(phases) if phase.state == "current"), None),
        phases=phases,
        batch=batches.done if building and batches else None,
        batches=batches.total if building and batches else None,
        percent=_percent(steps, batches),
        eta_seconds=_eta(connection, run, steps, batches),
        planned_start=plan.starts_at if plan else None,
        planned_end=plan.ends_at if plan else None,
        started_at=run.started_at,
    )


def _after(now: datetime, run: Run, plan: Window | None, closed: bool) -> PublicStatus:
    ended = run.unlocked_at or run.finished_at
    if plan is not None and not closed and ended is not None and plan.planned_at > ended:
        # a new date was set since
        return _before(now, plan, closed)
    if run.state == "completed" and not closed:
        back = run.kind == "rollback"
        return _said(
            "rolled_back" if back else "completed",
            wording.ROLLED_BACK if back else wording.COMPLETED,
            now,
            started_at=run.started_at,
            finished_at=ended,
        )
    if run.state == "completed":
        return _said("in_progress", wording.MAINTENANCE, now, closed=True)
    return _said(
        "delayed",
        wording.DELAYED_CLOSED if closed else wording.DELAYED_OPEN,
        now,
        closed=closed,
        started_at=run.started_at if closed else None,
    )


def _said(state: State, words: tuple[str, str], now: datetime, **values: object) -> PublicStatus:
    headline, message = words
    return PublicStatus.model_validate(
        {"state": state, "closed": False, "headline": headline, "message": message, "updated_at": now, **values}
    )


def _running(steps: Sequence[Step]) -> frozenset[str]:
    """The steps at work; between two steps the one that comes next."""
    running = frozenset(step.name for step in steps if step.state == "running")
    return running or frozenset(step.name for step in [step for step in steps if step.state != "done"][:1])


def _phases(run: Run, steps: Sequence[Step], running: frozenset[str]) -> tuple[Phase, ...]:
    states = {step.name: step.state for step in steps}
    phases = []
    for name, parts in wording.WAY_BACK if run.kind == "rollback" else wording.MOVE:
        known = [states[part] for part in parts if part in states]
        done = bool(known) and all(state == "done" for state in known)
        current = not running.isdisjoint(parts)
        phases.append(Phase(name=name, state="done" if done else "current" if current else "to do"))
    return tuple(phases)


def _percent(steps: Sequence[Step], batches: status.Batches | None) -> int:
    done = float(sum(step.state == "done" for step in steps))
    if (
        batches is not None
        and batches.total
        and any(step.state == "running" and step.name.startswith("transform") for step in steps)
    ):
        done += batches.done / batches.total
    return round(100 * done / max(1, len(steps)))


def _eta(connection: Connection, run: Run, steps: Sequence[Step], batches: status.Batches | None) -> int | None:
    """Seconds until the end: the measured rate for what is being built, the dry run's measurements for what follows.

    None before there is a rate, and where no dry run measured anything.
    """
    if batches is None or batches.rows_per_second is None or run.dry_run_id is None or run.kind != "apply":
        return None
    parts = database.scalar(
        connection,
        "select summary -> 'estimate' -> 'parts' from crm_migration.runs where run_id = %s",
        [run.dry_run_id],
    )
    if not parts:
        return None
    spent = {step.name: step.seconds or 0.0 for step in steps}
    open_steps = {step.name for step in steps if step.state != "done"}
    building = [name for name in spent if name.startswith("transform") or name in ("sources", "prepare")]
    left = 0.0
    if open_steps & set(building):
        left += max(batches.eta_seconds or 0.0, parts.get("transform", 0.0) - sum(spent[name] for name in building))
    for name in ("backup", "gates", "cutover", "verify", "unlock"):
        if name in open_steps:
            left += max(0.0, parts.get(name, 0.0) - spent[name])
    return round(left)
