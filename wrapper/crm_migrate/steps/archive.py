"""The archive of 90 days: looked at, written into files, and given up in the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import archive, archive_files, control, database, fault_points, ledger, lock, table_locks
from crm_migrate.archive import ArchivedTable, ArchivePurged, Seal
from crm_migrate.archive_files import ExportedTable
from crm_migrate.database import Connection
from crm_migrate.dependants import statement
from crm_migrate.errors import Exit, Interrupted, MigrationError, Stopped, WrongState
from crm_migrate.ledger import Run, Work
from crm_migrate.observer import Observer
from crm_migrate.reports import plain
from crm_migrate.resources import Sampler
from crm_migrate.settings import Settings
from crm_migrate.steps import stage as stages

STEPS = ("journal", "archive", "records")
# who did what and when stays for good, and what is meant for people: the rest speaks of rows that are gone
KEPT = (
    *("runs", "steps", "migration_history", "archives", "archived_tables", "lock", "schedule", "notices"),
    "resource_samples",
    "exported_rows",
)
_ATTEMPTS = 5


class ArchiveNotYet(MigrationError):
    """The time for which the archive is promised is not over."""

    code, exit_code = "CRM-610", Exit.WINDOW


class AnotherDatabase(WrongState):
    """The archive was made in another database: this is a copy, or was restored."""

    code = "CRM-433"


class InUse(WrongState):
    """Something that people made reads the archive."""

    code = "CRM-434"


class PurgeBlocked(Stopped):
    """A table lock was not granted; what was done so far is recorded."""

    code = "CRM-706"


@dataclass(frozen=True)
class ArchiveReport:
    """The archive and each of its tables."""

    run_id: str | None
    state: str
    sealed_at: datetime
    archive_until: datetime | None
    days_left: float | None
    here: bool
    purged_at: datetime | None
    tables: Sequence[ArchivedTable]
    next_command: str

    @property
    def exit_code(self) -> Exit:
        """0, or 5 when a table is not as it was."""
        return Exit.OK if all(table.ok for table in self.tables) else Exit.VERIFICATION_FAILED

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        tables = [plain(table) | {"ok": table.ok} for table in self.tables]
        return {key: value for key, value in plain(self).items() if key != "run_id"} | {"tables": tables}


@dataclass(frozen=True)
class ExportReport:
    """Where the archive was written to."""

    run_id: str | None
    path: Path
    rows: int
    bytes: int
    read_back: bool
    tables: Sequence[ExportedTable]

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


@dataclass(frozen=True)
class PurgeReport:
    """What a purge took away."""

    run_id: str | None
    apply_run_id: str
    purged_at: datetime
    tables: int
    rows: int
    seconds: float

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def status(connection: Connection) -> ArchiveReport:
    """Read every archived table and compare it with its checksum. Writes nothing.

    Raises:
        WrongState: no cutover was ever made here.
    """
    seal = _sealed(connection)
    run = ledger.get(connection, seal.run_id)
    left = _days_left(connection, run)
    if seal.purged_at is not None:
        return ArchiveReport(
            seal.run_id, "purged", seal.sealed_at, run.archive_until, left, True, seal.purged_at, (), "nothing to do"
        )
    here = _here(connection, seal)
    purging = seal.purge_started_at is not None
    over = left is not None and left <= 0
    return ArchiveReport(
        seal.run_id,
        "being purged" if purging else "kept",
        seal.sealed_at,
        run.archive_until,
        left,
        here,
        None,
        () if purging else tuple(archive.check(connection, seal.run_id)),
        "crm-migrate archive purge" if here and (over or purging) else "crm-migrate archive export",
    )


def export(connection: Connection, settings: Settings, folder: Path | None) -> ExportReport:
    """Write the archive into files and read them back; the database stays as it is.

    Raises:
        WrongState: there is no archive.
        ArchivePurged: not any more.
        archive_files.ExportDiffers: what was read back is not what was archived.
    """
    seal = _sealed(connection)
    archive.require_whole(connection, seal.run_id)
    path = (folder or settings.work_dir / "archives" / seal.run_id).absolute()
    made = archive_files.write(connection, seal, path)
    return ExportReport(
        seal.run_id, path, sum(item.rows for item in made), sum(item.bytes for item in made), True, made
    )


def purge(connection: Connection, settings: Settings, observer: Observer) -> PurgeReport:
    """Give the archive up, or go on with a purge that was interrupted. There is no way back from it.

    Raises:
        WrongState: there is nothing to purge, or a run is not finished.
        AnotherDatabase: the archive was made elsewhere.
        ArchiveNotYet: its time is not over, by the server's clock.
        PurgeBlocked: somebody's transaction is in the way; the same command goes on.
    """
    seal = _sealed(connection)
    stages.install(connection, settings)
    lock.claim(connection)
    _require_purgeable(connection, seal)
    run = ledger.latest(connection, "purge", states=ledger.UNFINISHED)
    resumed = run is not None and run.dry_run_id == seal.run_id
    if run is None or not resumed:
        migrated = ledger.get(connection, seal.run_id)
        run = ledger.start(
            connection, settings, "purge", STEPS, generation=migrated.generation, inputs={}, dry_run_id=seal.run_id
        )
    else:
        run = ledger.resume(connection, run)
    observer.run_started(run.run_id, run.kind, resumed=resumed)
    try:
        with Sampler(settings, run.run_id):
            return _play(connection, settings, observer, run, seal)
    except KeyboardInterrupt:
        raise Interrupted(
            "The purge was interrupted.", state=_HALF, next="crm-migrate archive purge goes on."
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Stopped(
            "The connection to the database was lost, or the server cannot go on.",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            state=_HALF,
            next="crm-migrate archive purge, as soon as the server answers",
        ) from error
    except MigrationError as error:
        connection.execute(
            "update crm_migration.runs set state = 'stopped', error = %s where run_id = %s",
            [Jsonb(error.as_dict()), run.run_id],
        )
        raise


_HALF = "The CRM is not touched by it; what was dropped of the archive is gone."


def _play(connection: Connection, settings: Settings, observer: Observer, run: Run, seal: Seal) -> PurgeReport:
    connection.execute(
        "update crm_migration.archives set purge_started_at = coalesce(purge_started_at, clock_timestamp())"
        " where run_id = %s",
        [seal.run_id],
    )
    fault_points.reached("purge.marked")
    work = {"journal": _end_journal, "archive": _drop_archive, "records": _empty_records}
    for name in STEPS:
        if not ledger.is_done(connection, run.run_id, name):
            observer.step_started(name)
            with ledger.step(connection, run, name) as done:
                work[name](connection, settings, done)
            observer.step_done(name, 0.0, done.rows)
    with connection.transaction():
        connection.execute(
            "update crm_migration.archives set purged_at = clock_timestamp() where run_id = %s", [seal.run_id]
        )
        ledger.set_run(connection, run.run_id, state="completed", finished_at="now", error=None)
    fault_points.reached("purge.completed")
    finished = archive.latest(connection)
    tables, rows = connection.execute(
        "select count(*), coalesce(sum(row_count), 0)::bigint from crm_migration.archived_tables where run_id = %s",
        [seal.run_id],
    ).fetchone() or (0, 0)
    steps = ledger.steps(connection, run.run_id)
    return PurgeReport(
        run_id=run.run_id,
        apply_run_id=seal.run_id,
        purged_at=finished.purged_at if finished and finished.purged_at else seal.sealed_at,
        tables=tables,
        rows=rows,
        seconds=sum(step.seconds or 0.0 for step in steps),
    )


def _sealed(connection: Connection) -> Seal:
    seal = archive.latest(connection)
    if seal is None:
        raise WrongState(
            "There is no archive: no cutover was made in this database."
            if control.installed(connection)
            else "There is no archive: this database was never migrated.",
            next="crm-migrate status",
        )
    return seal


def _require_purgeable(connection: Connection, seal: Seal) -> None:
    if seal.purged_at is not None:
        raise ArchivePurged(
            f"There is nothing to purge: the archive of run {seal.run_id} was purged at"
            f" {seal.purged_at:%Y-%m-%d %H:%M} UTC.",
            next="crm-migrate archive status",
        )
    if not _here(connection, seal):
        raise AnotherDatabase(
            f"This archive was made in the database {seal.database_name} of another server or under another identity:"
            " what is here is a copy of it, or was restored.",
            why="The server's system identifier, or the database's oid or name, is not the one of the cutover.",
            next="Check --dsn. In a copy that is to lose its archive: drop schema crm_archive cascade.",
        )
    held = lock.owner(connection)
    if held is not None:
        raise lock.LockHeld(held)
    for run in (
        ledger.latest(connection, "apply", "rollback", states=("running", "stopped")),
        ledger.get(connection, seal.run_id),
    ):
        if run is not None and run.state in ledger.UNFINISHED:
            raise WrongState(
                f"Run {run.run_id} ({run.kind}) is not finished.",
                next=f"crm-migrate {run.kind} goes on with it; crm-migrate status.",
            )
    run = ledger.get(connection, seal.run_id)
    left = _days_left(connection, run)
    if left is None or left > 0:
        until = f"{run.archive_until:%Y-%m-%d %H:%M} UTC" if run.archive_until else "its run is finished"
        raise ArchiveNotYet(
            f"The archive of run {seal.run_id} is kept until {until}"
            + (f", {left:.1f} days from now by the server's clock." if left else "."),
            next="crm-migrate archive purge, from then on; crm-migrate archive export at any time.",
        )


def _days_left(connection: Connection, run: Run) -> float | None:
    found: float | None = database.scalar(
        connection,
        "select extract(epoch from archive_until - clock_timestamp())::float8 / 86400"
        " from crm_migration.runs where run_id = %s",
        [run.run_id],
    )
    return found


def _here(connection: Connection, seal: Seal) -> bool:
    return (seal.system_identifier, seal.database_oid, seal.database_name) == connection.execute(
        "select * from crm_migration.identity_of_database()"
    ).fetchone()


def _end_journal(connection: Connection, settings: Settings, work: Work) -> None:
    """The journal serves verification and rollback: its triggers on the tables of the CRM go."""
    triggers = connection.execute(
        "select tgrelid::regclass::text, tgname::text from pg_catalog.pg_trigger"
        " inner join pg_catalog.pg_proc on pg_proc.oid = tgfoid"
        " where pronamespace = 'crm_migration'::regnamespace and not tgisinternal order by 1, 2"
    ).fetchall()
    for table, name in triggers:
        drop = sql.SQL("drop trigger {} on {}").format(sql.Identifier(name), sql.SQL(statement(table)))
        _patiently(connection, settings, drop)
        fault_points.reached(f"purge.trigger.{table}.{name}")


def _drop_archive(connection: Connection, settings: Settings, work: Work) -> None:
    # all that was sealed: a purge that goes on has no other way to know what it dropped before
    seal = _sealed(connection)
    work.rows = int(
        database.scalar(
            connection,
            "select coalesce(sum(row_count), 0) from crm_migration.archived_tables where run_id = %s",
            [seal.run_id],
        )
    )
    for name in archive.stored(connection):
        table = sql.Identifier(archive.SCHEMA, name)
        _patiently(connection, settings, sql.SQL("drop table {}").format(table))
        fault_points.reached(f"purge.table.{name}")
    _patiently(connection, settings, sql.SQL("drop schema if exists {}").format(sql.Identifier(archive.SCHEMA)))
    fault_points.reached("purge.schema")


def _empty_records(connection: Connection, settings: Settings, work: Work) -> None:
    """What the control schema holds of rows of the CRM: refused ones, the journal, definitions, findings."""
    del work
    emptied = [
        sql.Identifier(control.SCHEMA, row[0])
        for row in connection.execute(
            "select name from crm_migration.own_relations('crm_migration') where kind = 'r' and name <> all(%s)"
            " order by 1",
            [list(KEPT)],
        )
    ]
    _patiently(connection, settings, sql.SQL("truncate table {}").format(sql.SQL(", ").join(emptied)))
    # what a rollback exported and no migration could put back is people's, and in no other place
    connection.execute("delete from crm_migration.exported_rows where state = 'put back'")


def _patiently(connection: Connection, settings: Settings, command: sql.Composed) -> None:
    """Run one command whose table lock may have to be waited for, in short tries: people are at work meanwhile."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with connection.transaction():
                database.set_timeout(
                    connection, "lock_timeout", max(0.2, settings.lock_timeout / _ATTEMPTS), local=True
                )
                connection.execute(command)
            return
        except psycopg.errors.DependentObjectsStillExist as error:
            raise InUse(
                "Something that was made by hand reads the archive: " + str(error).splitlines()[0],
                why=error.diag.message_detail or "",
                state=_HALF,
                next="Drop what is named, then run crm-migrate archive purge again.",
            ) from error
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == _ATTEMPTS:
                raise PurgeBlocked(
                    "A table that the purge needs is locked by somebody else's transaction.",
                    why=table_locks.describe_blockers(connection),
                    state=_HALF,
                    next="End that session, then run crm-migrate archive purge again.",
                ) from None
            time.sleep(0.2 * attempt)
