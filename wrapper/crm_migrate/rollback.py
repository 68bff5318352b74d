"""The rollback: the legacy schema as it was, with what people changed since carried over or exported."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from crm_migrate import (
    archive,
    database,
    dependants,
    expectation,
    fault_points,
    fingerprint,
    lock,
    parallel,
    preflight,
    publish,
    table_locks,
)
from crm_migrate.access import AccessState
from crm_migrate.bring_back import KINDS, BringingBack, RollbackResult
from crm_migrate.database import Connection
from crm_migrate.dependants import statement
from crm_migrate.errors import Exit, MigrationError, Stopped, WrongState
from crm_migrate.fingerprint import Difference, Fingerprint
from crm_migrate.settings import Settings

__all__ = ["RollbackBlocked", "RollbackFails", "RollbackResult", "execute", "is_done", "prove"]


class RollbackBlocked(Stopped):
    """A table lock was not granted; nothing was changed."""

    code = "CRM-703"


class RollbackFails(MigrationError):
    """Something that people made since the cutover keeps the legacy schema from coming back."""

    code, exit_code = "CRM-511", Exit.VERIFICATION_FAILED


def is_done(connection: Connection, run_id: str) -> bool:
    """Whether the run's cutover was undone already."""
    return bool(
        database.scalar(
            connection,
            "select exists (select from crm_migration.saved_objects where run_id = %s and kind = 'rolled back')",
            [run_id],
        )
    )


def result(connection: Connection, run_id: str) -> RollbackResult | None:
    """What the rollback of this run did; None when it was not committed. A crash afterwards does not lose it."""
    done = dependants.load(connection, run_id, "rolled back")
    return RollbackResult.from_json(done[0].detail) if done else None


def execute(
    connection: Connection, settings: Settings, run_id: str, *, keep_changes: bool, export_dir: Path
) -> RollbackResult:
    """Bring the legacy schema back in one transaction.

    Args:
        connection: in autocommit mode, under the maintenance lock.
        settings: names and timeouts.
        run_id: the run whose cutover is undone.
        keep_changes: carry over what people changed; otherwise exactly the state before the run.
        export_dir: folder for what the legacy shape cannot hold.

    Raises:
        RollbackBlocked: a table lock was not granted.
        RollbackFails: an object of the installation cannot come back; nothing was changed.
    """
    saved = dependants.load(connection, run_id, *KINDS)
    if not saved:
        raise WrongState(f"The run {run_id} has no cutover to undo.", next="crm-migrate status")

    def bring_back() -> RollbackResult:
        database.set_timeout(connection, "lock_timeout", settings.lock_timeout, local=True)
        result = BringingBack(connection, settings, run_id, keep_changes, saved).play(export_dir)
        fault_points.reached("rollback.before-commit")
        return result

    try:
        result = table_locks.patiently(connection, settings.lock_timeout, bring_back)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        raise RollbackBlocked(
            "A table that the rollback needs is locked by somebody else.",
            why=table_locks.describe_blockers(connection),
            next="End that session, then run crm-migrate rollback again.",
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise
    except psycopg.Error as error:
        raise RollbackFails(
            "The legacy schema cannot be brought back: " + str(error).splitlines()[0],
            why=error.diag.context or "",
            state="Nothing was changed; the new tables are in use.",
            next="Remove what the message names, then run crm-migrate rollback again.",
        ) from error
    fault_points.reached("rollback.committed")
    return result


def prove(connection: Connection, settings: Settings, run_id: str, *, keep_changes: bool) -> list[Difference]:
    """Compare with the fingerprint from before the run (oracle O5); an empty list is the proof.

    Rows that people changed are compared with what people saw when they were carried over, one by one for deals, and
    sequences may be ahead then.
    """
    before = fingerprint.recall(connection, run_id, "before")
    if before is None:
        raise WrongState(f"There is no fingerprint of the state before run {run_id}.")
    access_state = dependants.load(connection, run_id, "access")
    locked = AccessState.from_json(access_state[0].detail) if lock.stored_state(connection) else None
    after = fingerprint.take(connection, locked=locked, settings=settings)
    found = [item for item in fingerprint.compare(before, after) if not _same_view(connection, item)]
    copies = {*archive.names(connection)}
    expected = expectation.differences(connection, run_id, after)
    if not keep_changes:
        # people may have worked with tables from which nothing refers to the CRM: they are as the rollback met them
        return [item for item in found if item.kind != "content" or item.identity in {*copies, "deals"}] + expected
    kept = expected + [
        item for item in found if item.kind not in ("content", "sequence_value") and not _made_since(before, item)
    ]
    kept += [item for item in found if item.kind == "sequence_value" and not _ahead(item, before)]
    # a table whose hash is that of before holds what it held
    touched = sorted(copies & {*after.contents} & {item.identity for item in found if item.kind == "content"})
    for name, differing in zip(touched, _count_differing(connection, settings, touched), strict=True):
        if differing and _journaled(name):
            kept.append(Difference("content", name, 0, differing))
    return kept


def _count_differing(connection: Connection, settings: Settings, tables: Sequence[str]) -> list[int]:
    """How many rows of each table are neither as they were nor people's doing."""
    pieces = [partial(_differing, name) for name in tables]
    if connection.info.transaction_status != TransactionStatus.IDLE:
        # nobody else sees what a transaction of the caller did
        return [count(connection) for count in pieces]
    return parallel.run(settings, pieces, application="crm-migrate prove")


def _differing(table: str, connection: Connection) -> int:
    return int(
        database.scalar(
            connection,
            "select crm_migration.count_differing(%s::regclass, %s::regclass,"
            " (select array_agg(distinct key) from crm_migration.changes where table_name = any(%s)))",
            [
                *(sql.Identifier(schema, table).as_string(None) for schema in ("public", archive.SCHEMA)),
                [table, preflight.NOTES] if table in publish.DEAL_NOTES else [table],
            ],
        )
    )


def _journaled(table: str) -> bool:
    return table in (*publish.IN_PLACE, *publish.DEAL_NOTES)


def _made_since(before: Fingerprint, item: Difference) -> bool:
    """A relation, function or type that people made after the cutover, or something of such a relation."""
    if item.before is not None:
        return False
    if item.kind == "grant":
        relation = item.identity.split(" on ", 1)[1].split(" to ", 1)[0].split(".", 1)[0]
    else:
        relation = item.identity.split(".", 1)[0]
    return item.kind in ("function", "type") or relation not in before.schema["relation"]


def _ahead(item: Difference, before: Fingerprint) -> bool:
    if item.before is None or item.after is None:
        return False
    further = item.after["last_value"] - item.before["last_value"]
    return bool(further * before.schema["sequence"][item.identity]["increment"] >= 0)


def _same_view(connection: Connection, item: Difference) -> bool:
    """PostgreSQL may write a view's text a little differently the second time: compare what it makes of the first."""
    if item.kind != "view" or not isinstance(item.before, str) or not isinstance(item.after, str):
        return False
    with connection.transaction(force_rollback=True):
        connection.execute(statement(f"create temporary view crm_migrate_same as {item.before}"))
        again = database.scalar(connection, "select pg_get_viewdef('pg_temp.crm_migrate_same'::regclass)")
    return bool(again == item.after)
