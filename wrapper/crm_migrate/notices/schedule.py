"""The planned maintenance window. It is kept in UTC and measured by the server's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crm_migrate import database, ledger
from crm_migrate.database import Connection
from crm_migrate.errors import UsageError, WrongState
from crm_migrate.lock import operator_name

BANNER_BEFORE = timedelta(hours=2)
FINAL_BEFORE = timedelta(minutes=30)
LONGEST_MINUTES = 7 * 24 * 60


@dataclass(frozen=True)
class Window:
    """A planned maintenance, seen at a moment."""

    plan_id: str
    starts_at: datetime
    minutes: int
    planned_at: datetime
    now: datetime
    """The server's clock when it was read."""

    @property
    def ends_at(self) -> datetime:
        """When people can expect to work again."""
        return self.starts_at + timedelta(minutes=self.minutes)

    @property
    def seconds_until_start(self) -> float:
        """Below zero once it should have started."""
        return (self.starts_at - self.now).total_seconds()

    @property
    def phase(self) -> str:
        """By the clock: `announced`, `banner` (2 hours before), `final` (30 minutes before), `started`, `over`."""
        left = self.starts_at - self.now
        if left > BANNER_BEFORE:
            return "announced"
        if left > FINAL_BEFORE:
            return "banner"
        if left > timedelta(0):
            return "final"
        return "started" if self.now < self.ends_at else "over"


def current(connection: Connection) -> Window | None:
    """The plan in force; None when there is none, or when the migration has happened since it was made."""
    if not database.exists(connection, "crm_migration.schedule"):
        return None
    found = database.rows(
        connection,
        """
        select plan_id, starts_at, minutes, planned_at, clock_timestamp() as now
        from crm_migration.schedule
        where in_force
            and not exists (
                select from crm_migration.runs where kind = 'apply' and cutover_at > schedule.planned_at
            )
        """,
    )
    return Window(**found[0]) if found else None


def plan(connection: Connection, starts_at: datetime, minutes: int) -> Window:
    """Put a plan in force; one that was in force is replaced.

    Args:
        starts_at: with its time zone.
        minutes: how long people cannot work.

    Raises:
        UsageError: it is in the past by the server's clock, or as long as no maintenance is.
    """
    now = server_clock(connection)
    if starts_at <= now:
        raise UsageError(
            f"{starts_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC is over;"
            f" the server's clock shows {now:%Y-%m-%d %H:%M} UTC.",
            next='crm-migrate announce plan --at "YYYY-MM-DD HH:MM"',
        )
    if not 0 < minutes <= LONGEST_MINUTES:
        raise UsageError(f"A maintenance of {minutes} minutes cannot be planned.", next="--duration MINUTES")
    with connection.transaction():
        # two operators at once: the second replaces the plan of the first
        connection.execute("lock table crm_migration.schedule in share row exclusive mode")
        replaced = _end(connection, called_off=False)
        plan_id = ledger.new_run_id(now)
        planned_at = database.scalar(
            connection,
            "insert into crm_migration.schedule (plan_id, starts_at, minutes, planned_by, replaces)"
            " values (%s, %s, %s, %s, %s) returning planned_at",
            [plan_id, starts_at, minutes, operator_name(), replaced],
        )
    return Window(plan_id, starts_at, minutes, planned_at, now)


def call_off(connection: Connection) -> Window:
    """Take the plan back.

    Raises:
        WrongState: there is none in force.
    """
    window = current(connection)
    if window is None:
        raise WrongState("No maintenance is planned.", next="crm-migrate announce plan --at TIME")
    _end(connection, called_off=True)
    return window


def parse(text: str) -> datetime:
    """A moment as operators write it: `2026-11-28 22:00` is UTC, `2026-11-28T22:00+01:00` says its zone.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or len(text.strip()) <= len("2026-11-28"):
        raise UsageError(f"{text!r} is not a date with a time.", next='--at "2026-11-28 22:00" (UTC)')
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def server_clock(connection: Connection) -> datetime:
    """The time that counts."""
    now: datetime = database.scalar(connection, "select clock_timestamp()")
    return now


def _end(connection: Connection, *, called_off: bool) -> str | None:
    ended = connection.execute(
        "update crm_migration.schedule set in_force = null, ended_at = clock_timestamp(), called_off = %s"
        " where in_force returning plan_id",
        [called_off],
    ).fetchone()
    return None if ended is None else str(ended[0])
