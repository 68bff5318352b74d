"""Table locks on a database that others use: taken all at once or not at all, and never at somebody else's expense."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import psycopg

from crm_migrate import database
from crm_migrate.database import Connection

Mode = Literal["share row exclusive", "access exclusive"]
T = TypeVar("T")

# of the time after which a session that waits looks for a deadlock, and may find that it is the one to be ended
_SHARE_OF_DEADLOCK_TIMEOUT = 0.6
_ATTEMPTS = 5
_SHORTEST = 0.1
_PAUSE = 0.2


def take(connection: Connection, tables: Sequence[str], mode: Mode, *, patience: float) -> None:
    """Lock all tables, in the current transaction.

    Whoever waits for one of them holds perhaps another that is still wanted. It is given up before the server looks for
    deadlocks, so that nobody else becomes the victim of one; and nobody queues behind it for longer than that. Only an
    autovacuum is waited for a little longer, and ended by the server.

    Args:
        connection: in a transaction.
        tables: names that the server has quoted.
        mode: of LOCK TABLE.
        patience: the seconds that all tries together may take; one try takes a fifth of it at most.

    Raises:
        psycopg.errors.LockNotAvailable: not within the time of one try.
    """
    deadlock_timeout = database.scalar(
        connection, "select setting::float8 / 1000 from pg_catalog.pg_settings where name = 'deadlock_timeout'"
    )
    at_most = max(_SHORTEST, min(patience / _ATTEMPTS, deadlock_timeout * _SHARE_OF_DEADLOCK_TIMEOUT))
    connection.execute(
        "select crm_migration.lock_together(%s::text[]::regclass[], %s, make_interval(secs => %s))",
        [list(tables), mode, at_most],
    )


def patiently(connection: Connection, patience: float, work: Callable[[], T]) -> T:
    """Do `work` in a transaction; again, after a pause, while a table lock is not to be had.

    Raises:
        psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected: for `patience` seconds.
    """
    deadline = time.monotonic() + patience
    attempt = 0
    while True:
        attempt += 1
        try:
            with connection.transaction():
                return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() >= deadline:
                raise
        # with nothing locked: those who queued behind us go first
        time.sleep(min(_PAUSE * attempt, 1.0))


def describe_blockers(connection: Connection) -> str:
    """The sessions that hold strong or writing locks on the CRM's tables, oldest first."""
    found = database.rows(
        connection,
        """
        select distinct
            activity.pid, activity.usename, activity.application_name, activity.state,
            coalesce(round(extract(epoch from clock_timestamp() - activity.xact_start)), 0) as seconds,
            pg_class.relname
        from pg_catalog.pg_locks
        inner join pg_catalog.pg_class on pg_class.oid = pg_locks.relation
        inner join pg_catalog.pg_stat_activity as activity on activity.pid = pg_locks.pid
        where pg_locks.granted
            and pg_class.relnamespace = 'public'::regnamespace
            and pg_locks.database = (select oid from pg_catalog.pg_database where datname = current_database())
            and pg_locks.pid <> pg_backend_pid()
        order by seconds desc, activity.pid
        limit 5
        """,
    )
    if not found:
        return "It has ended meanwhile."
    return "; ".join(
        f"session {row['pid']} ({_who(row)}, {row['state']}, open for {row['seconds']} s) holds {row['relname']}"
        for row in found
    )


def _who(session: Mapping[str, Any]) -> str:
    """A session's role and program; whoever has no role is a worker of the server, which is an autovacuum here."""
    if session["usename"] is None:
        return "an autovacuum"
    return f"{session['usename']}, {session['application_name'] or 'no application name'}"
