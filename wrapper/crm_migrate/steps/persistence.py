"""Going on by itself after what passes by itself: a lost connection, a server that starts up again, a deadlock."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.errors import ConnectionFailed, ConnectionLost, Passing, Stopped
from crm_migrate.observer import Observer
from crm_migrate.pulse import Pulse
from crm_migrate.settings import Settings

_LOOK_AGAIN_SECONDS = 0.5

Result = TypeVar("Result")


def going_on(
    connection: Connection, settings: Settings, observer: Observer, do: Callable[[Connection], Result]
) -> Result:
    """Do it; when something that passes stops it, do it again with a new connection: the ledger knows the place.

    Args:
        connection: the first one; it stays the caller's.
        do: a command that goes on where it stopped, such as an apply.

    Raises:
        Passing: `reconnect_attempts` times in a row, or the server did not come back within `recovery_timeout`.
    """
    with contextlib.ExitStack() as opened:
        for attempt in itertools.count(1):
            backend = connection.info.backend_pid
            try:
                with Pulse(settings):
                    return _or_lost(connection, do)
            except Passing as stopped:
                if attempt > settings.reconnect_attempts:
                    raise
                observer.say(f"{stopped.what} {stopped.why}".strip())
                connection.close()
                connection = opened.enter_context(_again(settings, stopped))
                _end_session(connection, backend)
                observer.say(f"Connected again, going on ({attempt} of {settings.reconnect_attempts})")
    raise AssertionError("the loop ends by a result or an error")


def _or_lost(connection: Connection, do: Callable[[Connection], Result]) -> Result:
    try:
        return do(connection)
    except psycopg.Error as error:
        # outside of the steps, such as while the run was looked up
        if not database.is_lost(error):
            raise
        raise stopped(
            connection, error, state="What was committed is in the ledger.", command="The same command"
        ) from error


def stopped(connection: Connection, error: Exception, *, state: str, command: str) -> Stopped:
    """What a run says when the server or the network stopped it.

    Args:
        connection: the run's own.
        error: what was raised first.
        state: the state of the database, as far as it can be known.
        command: the one that goes on.
    """
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    if connection.closed or (isinstance(error, psycopg.Error) and database.is_lost(error)):
        return ConnectionLost(
            "The connection to the database was lost.",
            why=why,
            state=state,
            next=f"{command}, as soon as the server answers",
        )
    if isinstance(error, psycopg.Error) and error.sqlstate in database.RETRYABLE:
        return Passing("Another transaction was in the way.", why=why, state=state, next=command)
    return Stopped("The server cannot go on.", why=why, state=state, next=f"{command}, when the cause is removed")


def _again(settings: Settings, stopped: Passing) -> Connection:
    deadline = time.monotonic() + settings.recovery_timeout
    while True:
        try:
            return database.connect(settings)
        except ConnectionFailed:
            if time.monotonic() > deadline:
                raise stopped from None
            time.sleep(_LOOK_AGAIN_SECONDS)


def _end_session(connection: Connection, backend: int) -> None:
    """The server may not know yet that our old session is dead, which holds the advisory lock as long as it lives."""
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            "select pg_terminate_backend(activity.pid, 5000) from pg_catalog.pg_stat_activity as activity"
            " inner join pg_catalog.pg_locks using (pid)"
            " where activity.pid = %s and activity.datname = current_database() and activity.usename = current_user"
            " and activity.application_name = 'crm-migrate' and pg_locks.locktype = 'advisory'",
            [backend],
        )
