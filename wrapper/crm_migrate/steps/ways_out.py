"""Where a failure leaves a run: before the cutover unlocked, after it locked, in both cases written down.

What can simply go on (an interruption, a lost connection) stays locked in either case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.types.json import Jsonb

from crm_migrate import control, cutover, lock
from crm_migrate.database import Connection
from crm_migrate.errors import Interrupted, MigrationError, Stopped
from crm_migrate.ledger import Run
from crm_migrate.steps import persistence
from crm_migrate.steps.deadline import DeadlinePassed
from crm_migrate.steps.stage import OPEN, UNLOCKED, Stage

_GO_ON = "crm-migrate apply goes on; crm-migrate unlock gives up the run and opens the CRM."


@contextmanager
def taken(stage: Stage) -> Iterator[None]:
    """Take the way out for whatever fails here, and raise it."""
    connection, run = stage.connection, stage.run
    try:
        yield
    except KeyboardInterrupt:
        interrupted = Interrupted("The run was interrupted.", state=_state(stage), next=_GO_ON)
        _write_down(connection, run, "stopped", interrupted)
        raise interrupted from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        stopped = persistence.stopped(connection, error, state=_state(stage), command="crm-migrate apply")
        _write_down(connection, run, "stopped", stopped)
        raise stopped from error
    except MigrationError as error:
        if _is_done(stage) is None:
            # whatever went wrong elsewhere went wrong with it: the backup, the checks, the build
            raise persistence.stopped(connection, error, state=_state(stage), command="crm-migrate apply") from error
        if _is_done(stage) is False and not isinstance(error, lock.LockHeld | Stopped):
            if lock.release(connection, stage.settings):
                control.end_build(connection)
                error.state = UNLOCKED
            _write_down(connection, run, "failed", error)
        elif isinstance(error, DeadlinePassed):
            lock.release(connection, stage.settings)
            control.end_build(connection)
            _write_down(connection, run, "failed", error)
        else:
            _write_down(connection, run, "stopped", error)
        raise


def _is_done(stage: Stage) -> bool | None:
    try:
        return cutover.is_done(stage.connection, stage.run.run_id)
    except psycopg.Error:
        return None


def _state(stage: Stage) -> str:
    done = _is_done(stage)
    if done is None:
        return "Unknown until the server answers; every finished step is recorded, and the CRM may be locked."
    if done:
        return "The new tables are published; the CRM is locked until the run has gone on."
    if lock.owner(stage.connection) is None:
        return OPEN
    return "The CRM is locked; its tables are as they were. Finished batches are kept."


def _write_down(connection: Connection, run: Run, state: str, error: MigrationError) -> None:
    with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
        connection.execute(
            "update crm_migration.runs set state = %s, error = %s, finished_at = clock_timestamp() where run_id = %s",
            [state, Jsonb(error.as_dict()), run.run_id],
        )
