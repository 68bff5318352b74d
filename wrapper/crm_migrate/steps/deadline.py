"""The deadline of an apply: the time of day by which its cutover must be over, or it stops unlocked before it."""

from __future__ import annotations

from datetime import datetime, timedelta

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.errors import Stopped, UsageError
from crm_migrate.steps.stage import UNLOCKED, Stage


class DeadlinePassed(Stopped):
    """The cutover would not be over in time."""

    code = "CRM-701"


def parse(connection: Connection, text: str | None) -> datetime | None:
    """The next moment at which the server's clock, in UTC, shows HH:MM.

    Raises:
        UsageError: not a time.
    """
    if text is None:
        return None
    try:
        wanted = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise UsageError(f"{text!r} is not a time of day.", next="--deadline 23:30 (UTC)") from None
    now: datetime = database.scalar(connection, "select clock_timestamp()")
    moment = now.replace(hour=wanted.hour, minute=wanted.minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def keep(stage: Stage, deadline: datetime | None) -> None:
    """Stop before the cutover when it would be over later; what it takes is told by what the gates took.

    Raises:
        DeadlinePassed: nothing was published.
    """
    if deadline is None:
        return
    now = database.scalar(stage.connection, "select clock_timestamp()")
    seconds = database.scalar(
        stage.connection,
        "select coalesce(sum(extract(epoch from finished_at - started_at)), 0)::float8 from crm_migration.steps"
        " where run_id = %s and name in ('prepare', 'gates')",
        [stage.run.run_id],
    )
    if (deadline - now).total_seconds() < seconds:
        raise DeadlinePassed(
            f"The cutover and its verification would not be over by {deadline:%H:%M}.",
            state=UNLOCKED,
            next="crm-migrate apply, with a later deadline",
        )
