"""The end of the compatibility layer: who still uses it, and taking it away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crm_migrate import compat, compat_usage, database, ledger, lock, log
from crm_migrate.compat import Promise
from crm_migrate.compat_usage import Reads, Usage
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError, WrongState
from crm_migrate.reports import plain
from crm_migrate.settings import Settings


class StillInUse(WrongState):
    """Somebody still depends on the old names."""

    code = "CRM-421"


class RollbackStillOpen(MigrationError):
    """The migration can still be taken back, so the old names have to stay."""

    code, exit_code = "CRM-601", Exit.WINDOW


@dataclass(frozen=True)
class CompatReport:
    """The old names, until when they stay, and who uses them."""

    run_id: str | None
    until: datetime | None
    days_left: int | None
    expired: bool
    views: list[Promise]
    usage: list[Usage]
    """Writes, by role and day."""
    reads: Reads
    functions: list[str]
    """The installation's functions that name a view."""
    in_use: list[str]
    """What speaks against dropping the views."""

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


@dataclass(frozen=True)
class CompatDropReport:
    """What became of the old names."""

    run_id: str | None
    dropped: list[str]
    hidden: list[str]
    already_gone: list[str]
    although: list[str]
    """What spoke against it."""

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def status(connection: Connection, settings: Settings) -> CompatReport:
    """Who still uses the old names. Writes nothing.

    Raises:
        WrongState: this database is not migrated.
    """
    run = ledger.latest(connection, "apply")
    promised = compat.promises(connection)
    if not promised:
        raise WrongState("There is no compatibility layer: this database is not migrated.", next="crm-migrate status")
    present = [item.relation for item in promised if item.present]
    until = min(item.until for item in promised)
    now: datetime = database.scalar(connection, "select clock_timestamp()")
    written = list(compat_usage.writes(connection))
    read = compat_usage.reads(connection, [item.relation for item in promised])
    functions = list(compat_usage.functions(connection, present))
    return CompatReport(
        run_id=run.run_id if run else None,
        until=until,
        days_left=max(0, (until - now).days) if present else None,
        expired=now > until,
        views=promised,
        usage=written,
        reads=read,
        functions=functions,
        in_use=_in_use(settings, now, written, read, functions) if present else [],
    )


def drop(connection: Connection, settings: Settings, *, although: str | None) -> CompatDropReport:
    """Take the old names away; again is harmless.

    Args:
        although: why it is done although they are in use; recorded.

    Raises:
        WrongState: this database is not migrated.
        RollbackStillOpen: while a rollback is promised.
        StillInUse: somebody wrote through them lately, reads them, or a function names them.
        compat.DropBlocked, compat.StillReferred: nothing was changed.
    """
    lock.claim(connection)
    held = lock.owner(connection)
    if held is not None:
        raise lock.LockHeld(held)
    found = status(connection, settings)
    _require_closed_window(connection)
    if found.in_use and although is None:
        raise StillInUse(
            "The old names are still in use: " + "; ".join(found.in_use[:5]),
            next="Change those programs. Or: crm-migrate compat drop --although-in-use --reason TEXT",
        )
    made = compat.drop_views(connection, settings, reason=although)
    log.event("compat dropped", dropped=made.dropped, hidden=made.hidden, reason=although, in_use=found.in_use)
    return CompatDropReport(
        run_id=found.run_id,
        dropped=list(made.dropped),
        hidden=list(made.hidden),
        already_gone=[item.relation for item in found.views if item.dropped_at is not None],
        although=found.in_use,
    )


def _require_closed_window(connection: Connection) -> None:
    open_until = database.scalar(
        connection,
        "select max(rollback_until) from crm_migration.runs where kind = 'apply' and state = 'completed'"
        " and rollback_until > clock_timestamp()",
    )
    if open_until is not None:
        raise RollbackStillOpen(
            f"The migration can be rolled back until {open_until:%Y-%m-%d %H:%M} UTC; the old names stay as long.",
            why="The old application is what people go back to.",
            next="crm-migrate compat drop after that",
        )


def _in_use(settings: Settings, now: datetime, written: list[Usage], read: Reads, functions: list[str]) -> list[str]:
    latest: dict[tuple[str, str], datetime] = {}
    for usage in written:
        key = (usage.role, usage.relation)
        latest[key] = max(latest.get(key, usage.last_at), usage.last_at)
    found = [
        f"{role} wrote through {relation} on {at:%Y-%m-%d}"
        for (role, relation), at in sorted(latest.items())
        if (now - at).total_seconds() < settings.compat_quiet_days * 86400
    ]
    since = f" since {read.since:%Y-%m-%d}" if read.since else ""
    found += [f"{item.role} read {item.relation} {item.calls:,} times{since}" for item in read.by_role]
    return found + [f"the function {name} names them" for name in functions]
