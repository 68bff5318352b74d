"""The maintenance lock: nobody writes while it is held, and what it changed is undone exactly.

The layers, from the one that every role may use to those that need privileges:

- `fence`: a statement trigger on every table refuses writes, whoever asks;
- `grants`: write privileges are taken from everybody but the owners;
- `logins`: none of the application's login roles can connect;
- `sessions`: their sessions are ended;
- `owner`: an advisory lock of this session says who holds it. It dies with its connection, the stored state stays.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import access, database, fault_points, table_locks
from crm_migrate.access import AccessState, LoginRole
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError, WrongState
from crm_migrate.settings import Settings

_KEY = "crm-migrate"  # crm_migration.claims() knows it, too
# what the server keeps of an application's name
_LONGEST_NAME = 63
_NOT_TAKEN = "The maintenance lock was not taken; everything is as it was."
_STILL_HELD = "The CRM is still locked."


@dataclass(frozen=True)
class Owner:
    """Who holds the lock, or held it when the machine died."""

    run_id: str | None
    phase: str
    operator: str
    host: str
    pid: int
    since: datetime
    age_seconds: float
    alive: bool
    layers: tuple[str, ...]


class LockHeld(MigrationError):
    """Another process is at work on this database."""

    code, exit_code = "CRM-104", Exit.WRONG_STATE

    def __init__(self, owner: Owner | None, *, claimed_by: str = "another crm-migrate") -> None:
        who = (
            f"{owner.operator} on {owner.host} (process {owner.pid}), since {owner.since:%Y-%m-%d %H:%M} UTC"
            if owner
            else claimed_by
        )
        if owner is None or owner.alive:
            what, next = f"This database is being worked on by {who}.", "crm-migrate status --watch"
        else:
            # by hand, or by a run whose process died
            what = f"The CRM is locked by {who}; that process is gone."
            next = "crm-migrate unlock opens the CRM" + (
                "." if owner.run_id is None else " and gives up the run; crm-migrate apply or rollback goes on with it."
            )
        super().__init__(what=what, state="Nothing was changed by this command.", next=next)


class FenceBlocked(MigrationError):
    """A table lock was not to be had: somebody's transaction is open on it."""

    code, exit_code = "CRM-108", Exit.WRONG_STATE


def claim(connection: Connection) -> None:
    """Be the only crm-migrate that works on this database, for as long as `connection` lives.

    Raises:
        LockHeld: another one is; names it as far as it is known.
    """
    # who comes second reads it from there: this run has not written anything yet
    connection.execute(
        "select set_config('application_name', %s, false)",
        [f"crm-migrate: {operator_name()} on {socket.gethostname()} (process {os.getpid()})"[:_LONGEST_NAME]],
    )
    if not database.scalar(connection, "select pg_try_advisory_lock(hashtextextended(%s, 0))", [_KEY]):
        held = owner(connection)
        raise LockHeld(held if held is not None and held.alive else None, claimed_by=_claimant(connection))


def _claimant(connection: Connection) -> str:
    """The session that has claimed this database, as it names itself."""
    found = database.rows(
        connection,
        """
        select activity.pid, activity.usename, activity.application_name, activity.backend_start
        from crm_migration.claims() as claim
        inner join pg_catalog.pg_stat_activity as activity on activity.pid = claim
        """,
    )
    if not found:
        return "another crm-migrate, which has ended meanwhile"
    session = found[0]
    # the server tells a role's name and start only to those who may act for it
    name = (session["application_name"] or "").removeprefix("crm-migrate: ") or f"the role {session['usename']}"
    since = f", since {session['backend_start']:%Y-%m-%d %H:%M} UTC" if session["backend_start"] else ""
    return f"{name}{since}, server session {session['pid']}"


def owner(connection: Connection) -> Owner | None:
    """Who holds the maintenance lock; None when nobody does."""
    if not database.exists(connection, "crm_migration.lock"):
        return None
    found = database.rows(
        connection,
        """
        select
            lock.*,
            extract(epoch from clock_timestamp() - lock.acquired_at)::float8 as age_seconds,
            lock.backend_pid in (select crm_migration.claims()) as alive
        from crm_migration.lock
        where lock.phase <> 'released'
        """,
    )
    if not found:
        return None
    row = found[0]
    return Owner(
        row["run_id"],
        row["phase"],
        row["operator"],
        row["host"],
        row["pid"],
        row["acquired_at"],
        row["age_seconds"],
        row["alive"],
        tuple(row["layers"]),
    )


def acquire(connection: Connection, settings: Settings, *, run_id: str | None = None) -> AccessState:
    """Lock the CRM, or go on where a crash left off; returns the access as it was before.

    The state before is committed before the first change, so whatever happens next can be undone from any machine.

    Raises:
        FenceBlocked: somebody holds a lock on a table; everything that was changed is undone.
    """
    before = stored_state(connection)
    if before is None:
        before = access.capture(connection)
    with connection.transaction():
        connection.execute(
            """
            insert into crm_migration.lock (run_id, phase, operator, host, pid, backend_pid, access_before)
            values (%(run)s, 'preparing', %(operator)s, %(host)s, %(pid)s, pg_backend_pid(), %(before)s)
            on conflict (only_one) do update set
                run_id = excluded.run_id, phase = 'preparing', operator = excluded.operator, host = excluded.host,
                pid = excluded.pid, backend_pid = excluded.backend_pid, access_before = excluded.access_before,
                acquired_at = case when lock.phase = 'released' then clock_timestamp() else lock.acquired_at end,
                held_at = case when lock.phase in ('preparing', 'held') then lock.held_at end,
                releasing_at = null,
                released_at = null
            """,
            {
                "run": run_id,
                "operator": operator_name(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "before": Jsonb(before.as_json()),
            },
        )
    fault_points.reached("lock.state-stored")
    try:
        held = layers(connection, settings, before.logins)
        _shut_out(connection, settings, before)
        fault_points.reached("lock.logins-shut")
        _with_patience(connection, settings, lambda: _fence(connection, settings, before), state=_NOT_TAKEN)
    except MigrationError:
        release(connection, settings)
        raise
    fault_points.reached("lock.fenced")
    connection.execute(
        "update crm_migration.lock set phase = 'held', held_at = coalesce(held_at, clock_timestamp()), layers = %s",
        [Jsonb(held)],
    )
    fault_points.reached("lock.held")
    return before


def release(connection: Connection, settings: Settings) -> bool:
    """Unlock: fence down, grants and logins as before, also on the successors after a cutover. Safe to repeat.

    Returns whether there was anything to undo.
    """
    before = stored_state(connection)
    if before is None:
        return False
    connection.execute(
        "update crm_migration.lock set phase = 'releasing', releasing_at = coalesce(releasing_at, clock_timestamp())"
    )
    fault_points.reached("unlock.started")

    def undo() -> None:
        _lock(connection, settings, "select oid::text from crm_migration.fenced_tables() as oid", "access exclusive")
        connection.execute("select crm_migration.drop_fence()")
        fault_points.reached("unlock.fence-dropped")
        access.give_back(connection, before)
        fault_points.reached("unlock.grants-given-back")

    _with_patience(connection, settings, undo, state=_STILL_HELD)
    fault_points.reached("unlock.fence-down")
    reach = access.reach(connection, before.logins)
    with connection.transaction():
        for login in before.logins:
            if settings.shut_out_logins and login.name in reach and reach[login.name].shut_out:
                connection.execute(
                    sql.SQL("alter role {} login connection limit {}").format(
                        sql.Identifier(login.name), sql.Literal(login.connection_limit)
                    )
                )
                fault_points.reached("unlock.login-opened")
        connection.execute("update crm_migration.lock set phase = 'released', released_at = clock_timestamp()")
    fault_points.reached("unlock.done")
    return True


def stored_state(connection: Connection) -> AccessState | None:
    """The access before the lock, while it is held; None when it is not."""
    if not database.exists(connection, "crm_migration.lock"):
        return None
    document = database.scalar(connection, "select access_before from crm_migration.lock where phase <> 'released'")
    return None if document is None else AccessState.from_json(document)


def operator_name() -> str:
    """The login name of the person at the keyboard, as far as the system knows it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def layers(connection: Connection, settings: Settings, logins: Sequence[LoginRole]) -> tuple[str, ...]:
    """The layers that this session can put up; one that would let some application through is not among them.

    Args:
        logins: the application's login roles, as they were before the lock.
    """
    reach = access.reach(connection, logins).values()
    possible = ["fence", "grants"] if _owns_every_table(connection) else []
    if reach and settings.shut_out_logins and all(one.shut_out for one in reach):
        possible.append("logins")
    if reach and all(one.end_sessions for one in reach):
        possible.append("sessions")
    return (*possible, "owner")


def _owns_every_table(connection: Connection) -> bool:
    return not database.scalar(
        connection,
        """
        select exists (
            select from pg_catalog.pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
                and not pg_catalog.pg_has_role(current_user, relowner, 'usage')
                and not exists (
                    select from pg_catalog.pg_depend
                    where classid = 'pg_catalog.pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
                )
        )
        """,
    )


def _shut_out(connection: Connection, settings: Settings, before: AccessState) -> None:
    """Whoever can be kept out is, also where some login role cannot: the fence stops the others."""
    reach = access.reach(connection, before.logins)
    for name in sorted(reach):
        if settings.shut_out_logins and reach[name].shut_out:
            connection.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(name)))
            fault_points.reached("lock.login-shut")
    connection.execute(
        """
        select pg_catalog.pg_terminate_backend(pid, 5000)
        from pg_catalog.pg_stat_activity
        where datname = current_database() and usename = any(%s) and pid <> pg_backend_pid()
        """,
        [[name for name, one in reach.items() if one.end_sessions]],
    )


def _fence(connection: Connection, settings: Settings, before: AccessState) -> None:
    _lock(connection, settings, "select oid::text from crm_migration.tables_to_fence() as oid", "share row exclusive")
    connection.execute("select crm_migration.raise_fence()")
    fault_points.reached("lock.fence-raised")
    access.revoke_writes(connection, before)
    fault_points.reached("lock.grants-taken")


def _lock(connection: Connection, settings: Settings, query: LiteralString, mode: table_locks.Mode) -> None:
    tables = [row[0] for row in connection.execute(query)]
    table_locks.take(connection, tables, mode, patience=settings.lock_timeout)


def _with_patience(connection: Connection, settings: Settings, work: Callable[[], None], *, state: str) -> None:
    try:
        table_locks.patiently(connection, settings.lock_timeout, work)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        raise FenceBlocked(
            what="A table of the CRM is locked by somebody else's transaction.",
            why=table_locks.describe_blockers(connection),
            state=state,
            next="End that session, then run the same command again.",
        ) from None


def wait_until_writers_are_gone(connection: Connection, seconds: float = 5.0) -> None:
    """Give sessions that were told to end the time to do so; those of other roles are stopped by the fence."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = database.scalar(
            connection,
            "select count(*) from pg_catalog.pg_stat_activity where datname = current_database()"
            " and usename = any(select jsonb_path_query(access_before, '$.logins[*].name') #>> '{}'"
            " from crm_migration.lock)",
        )
        if not left:
            return
        time.sleep(0.1)


def require_held(connection: Connection) -> AccessState:
    """The state before the lock; for steps that may only run under it.

    Raises:
        WrongState: the lock is not held.
    """
    state = stored_state(connection)
    if state is None:
        raise WrongState("The maintenance lock is not held.", next="crm-migrate status")
    return state
