"""The cutover: new tables published, legacy `deals` archived, views left under the old names, in one transaction."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from crm_migrate import (
    archive,
    database,
    dependants,
    fault_points,
    fingerprint,
    lock,
    parallel,
    preflight,
    publish,
    successor,
    table_locks,
)
from crm_migrate.access import AccessState
from crm_migrate.compat_stand_ins import StandIns
from crm_migrate.database import Connection
from crm_migrate.dependants import SavedObject, statement
from crm_migrate.errors import MigrationError, NoGo, Stopped
from crm_migrate.preflight import Blocker
from crm_migrate.settings import Settings

if TYPE_CHECKING:
    from crm_migrate.legacy import LegacySchema

__all__ = ["Blocker", "CutoverBlocked", "CutoverRefused", "CutoverResult", "execute", "is_done", "validate"]

_ATTEMPTS = 5
_CANCEL_AGAIN = 0.02
# never an object's own fault: these end the whole attempt
_NOT_THE_OBJECT = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)


class CutoverBlocked(Stopped):
    """A table lock was not granted in time; nothing was changed and the CRM is still in maintenance."""

    code = "CRM-702"


class CutoverRefused(NoGo):
    """Something of this installation cannot be carried over; nothing was changed."""

    code = "CRM-320"

    def __init__(self, blockers: list[Blocker]) -> None:
        super().__init__(
            what=f"{len(blockers)} thing(s) cannot be carried over. " + " ".join(item.message for item in blockers[:5]),
            why=", ".join(dict.fromkeys(item.code for item in blockers)),
            next=" ".join(dict.fromkeys(item.hint for item in blockers if item.hint)) or "crm-migrate dry-run",
        )


@dataclass(frozen=True)
class CutoverResult:
    """How long it took and, for a rehearsal, what would not have worked."""

    seconds: float
    blockers: list[Blocker] = field(default_factory=list)
    warnings: list[Blocker] = field(default_factory=list)


def is_done(connection: Connection, run_id: str) -> bool:
    """Whether the run's cutover has been committed; asks the database, since the answer to a COMMIT can get lost."""
    return database.exists(connection, "crm_migration.migration_history") and bool(
        database.scalar(
            connection, "select exists (select from crm_migration.migration_history where run_id = %s)", [run_id]
        )
    )


def execute(
    connection: Connection,
    settings: Settings,
    run_id: str,
    legacy: LegacySchema,
    locked: AccessState,
    *,
    rehearse: bool = False,
) -> CutoverResult:
    """Publish the built tables, or try to and roll it back.

    Args:
        connection: in autocommit mode.
        settings: names, decisions, timeouts.
        run_id: the run whose build is published.
        legacy: what the legacy database is.
        locked: grants and trigger states as they were before the lock.
        rehearse: execute everything, list what fails, change nothing.

    Raises:
        CutoverBlocked: a table lock was not granted; nothing was changed.
        CutoverRefused: an object cannot be carried over; nothing was changed. A rehearsal lists it instead.
    """
    started = time.monotonic()
    blockers = preflight.run(connection, settings, legacy)
    if blockers:
        if rehearse:
            return CutoverResult(0.0, blockers, preflight.warnings(connection))
        raise CutoverRefused(blockers)
    if not rehearse:
        fingerprint.remember(connection, run_id, "before", locked, settings)
        fault_points.reached("cutover.fingerprint-taken")
        started = time.monotonic()
    named = preflight.warnings(connection)
    transaction = _Transaction(connection, settings, run_id, legacy, locked, rehearse)
    if rehearse:
        transaction.rehearse()
    else:
        transaction.publish()
    return CutoverResult(time.monotonic() - started, transaction.blockers, [*transaction.warnings, *named])


def validate(connection: Connection, settings: Settings) -> int:
    """Check the constraints that the cutover made without checking; returns how many were left to check.

    Outside of the transaction: it reads the tables, and keeps nobody from reading them.
    """
    unchecked = connection.execute(
        """
        select pg_constraint.conrelid::regclass::text, pg_constraint.conname
        from pg_catalog.pg_constraint
        inner join pg_catalog.pg_class on pg_class.oid = pg_constraint.conrelid
        inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
        where not pg_constraint.convalidated
            and pg_constraint.contype in ('f', 'c')
            and not starts_with(pg_namespace.nspname, 'crm_')
            -- what the installation never checked stays as it was
            and not exists (
                select from crm_migration.fingerprints as before
                where before.kind = 'before'
                    and before.content @? format(
                        '$.schema.constraint.%s.validated ? (@ == false)',
                        to_json(pg_class.relname || '.' || pg_constraint.conname)
                    )::jsonpath
            )
        order by pg_relation_size(pg_constraint.conrelid) desc, 1, 2
        """
    ).fetchall()
    # a table at a time: two constraints of the same table would wait for each other
    tables = dict.fromkeys(table for table, _ in unchecked)
    pieces = [partial(_validate, table, [name for other, name in unchecked if other == table]) for table in tables]
    patience = {"lock_timeout": f"{int(settings.lock_timeout * 1000)}ms"}
    parallel.run(settings, pieces, session=patience, application="crm-migrate validate")
    return len(unchecked)


def _validate(table: str, names: list[str], connection: Connection) -> None:
    for name in names:
        connection.execute(
            sql.SQL("alter table {} validate constraint {}").format(sql.SQL(statement(table)), sql.Identifier(name))
        )
        fault_points.reached(f"validate.{name}")


class _RehearsalOver(Exception):
    """Rolls the rehearsal's transaction back."""


@dataclass
class _Transaction:
    connection: Connection
    settings: Settings
    run_id: str
    legacy: LegacySchema
    locked: AccessState
    rehearsing: bool
    blockers: list[Blocker] = field(default_factory=list)
    warnings: list[Blocker] = field(default_factory=list)

    def publish(self) -> None:
        """In short tries, so that nobody queues behind a lock that we wait for."""
        patience = self.settings.lock_timeout
        try:
            table_locks.patiently(self.connection, patience, lambda: self._publish(patience))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            raise CutoverBlocked(
                "A table that the cutover needs is locked by somebody else.",
                why=table_locks.describe_blockers(self.connection),
                state="Nothing was changed; the CRM is still in maintenance.",
                next="End that session, then run crm-migrate apply again.",
            ) from None
        fault_points.reached("cutover.committed")

    def _publish(self, patience: float) -> None:
        database.set_timeout(self.connection, "lock_timeout", max(0.2, patience / _ATTEMPTS), local=True)
        self._play(patience)
        fault_points.reached("cutover.before-commit")

    def rehearse(self) -> None:
        """The same, rolled back; bounded in time, since on a live database people wait meanwhile."""
        limit = self.settings.rehearsal_max_seconds
        patience = self.settings.rehearsal_lock_timeout

        def pretend() -> None:
            with _watchdog(self.connection, limit):
                database.set_timeout(self.connection, "lock_timeout", patience, local=True)
                self._pretend_locked()
                self._play(patience)
            raise _RehearsalOver

        try:
            table_locks.patiently(self.connection, patience, pretend)
        except _RehearsalOver:
            pass
        except psycopg.errors.QueryCanceled:
            self.blockers.append(
                Blocker(
                    "rehearsal.too_long",
                    "schema",
                    f"The rehearsal of the cutover held table locks for more than {limit:g} seconds and was stopped.",
                    "Rehearse on a restored copy: crm-migrate dry-run --on-copy.",
                )
            )
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            self.blockers.append(
                Blocker(
                    "rehearsal.locked",
                    "schema",
                    "A table lock was not granted within"
                    f" {self.settings.rehearsal_lock_timeout:g} seconds: somebody's transaction is open."
                    f" {table_locks.describe_blockers(self.connection)}",
                    "Run it again at a quieter time, or on a restored copy: crm-migrate dry-run --on-copy.",
                )
            )
        except CutoverRefused:
            # already in the list; what would have come after it could not be tried
            pass

    def _play(self, patience: float) -> None:
        from crm_migrate import compat

        connection, settings = self.connection, self.settings
        name = settings.rename.get
        # of an earlier try
        self.blockers.clear()
        self.warnings.clear()
        publish.lock_tables(connection, patience)
        publish.remember_start(connection, self.run_id, self.locked)
        belongings = successor.remember(connection, self.run_id)
        standing = dependants.find(connection, publish.roots(connection))
        dependants.save(connection, self.run_id, standing)
        fault_points.reached("cutover.saved")

        with self._essential("moving the deals into the archive"):
            dependants.drop(connection, standing)
            connection.execute("create schema if not exists crm_archive")
            successor.archive(connection, belongings)
        fault_points.reached("cutover.deals-archived")
        with self._essential("publishing the new tables"):
            publish.move_types(connection)
            publish.make_room(connection, "opportunities", name("opportunities", "opportunities"))
            successor.take_the_old_name(connection)
            for warning in successor.carry(connection, settings, belongings, self.locked, self._attempt):
                self.warnings.append(Blocker("replication.changed", "deals", warning))
            # while both tables bear their old names, which the text of these policies says
            of_notes = [item for item in standing if publish.on_deal_notes(item)]
            dependants.rebuild(connection, of_notes, self.locked, self._attempt)
            successor.take_the_new_name(connection, name("opportunities", "opportunities"))
            publish.move_tables(connection, settings)
        fault_points.reached("cutover.tables-published")
        with self._essential("renaming the deal notes"):
            publish.rename_notes(connection, name(preflight.NOTES, preflight.NOTES), self.locked)
        fault_points.reached("cutover.notes-renamed")
        with self._essential("classifying the companies"):
            publish.classify_companies(connection, self.run_id)
        fault_points.reached("cutover.companies-classified")
        connection.execute("select set_config('crm_migrate.fallback_stage', %s, true)", [settings.fallback_stage])
        for stage in ("stage_1", "stage_1_5"):
            with self._essential(f"the SQL of {stage}"):
                database.run_sql_folder(connection, f"cutover/{stage}", rename=settings.rename)
        with self._essential("the compatibility views"):
            old_names = compat.create_views(connection, settings, self.legacy)
            publish.grant_old_names(connection, self.locked)
            publish.let_readers_of_notes_ask(connection, settings, self.locked)
        fault_points.reached("cutover.old-names")
        others = [item for item in standing if item not in of_notes]
        dependants.rebuild(
            connection,
            others,
            self.locked,
            self._attempt,
            instead=publish.wrapped_summaries(standing, settings),
            under=StandIns(connection, old_names).under,
        )
        fault_points.reached("cutover.dependants-rebuilt")
        with self._essential("the journal"):
            publish.start_journal(connection, settings)
            if not self.rehearsing:
                connection.execute("select crm_migration.raise_fence()")
                archive.seal(connection, self.run_id)
        fault_points.reached("cutover.fenced")
        publish.remember_end(connection, self.run_id, settings)
        connection.execute("notify pgrst, 'reload schema'")

    @contextmanager
    def _attempt(self, kind: str, identity: str) -> Iterator[None]:
        """One object of the installation; a rehearsal goes on with the others when it fails."""
        try:
            with self.connection.transaction():
                yield
        except _NOT_THE_OBJECT:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except psycopg.Error as error:
            self.blockers.append(
                Blocker(
                    f"{kind.replace(' ', '_')}.not_carried",
                    "schema",
                    f"The {kind} {identity} cannot be made again: {_first_line(error)}",
                    "Change or drop it before the migration.",
                    sample_keys=(identity,),
                )
            )
            if not self.rehearsing:
                raise CutoverRefused(self.blockers) from error

    @contextmanager
    def _essential(self, what: str) -> Iterator[None]:
        """A part that everything after it needs."""
        try:
            with self.connection.transaction():
                yield
        except (*_NOT_THE_OBJECT, MigrationError):
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except psycopg.Error as error:
            self.blockers.append(
                Blocker("cutover.fails", "schema", f"The cutover fails at {what}: {_first_line(error)}")
            )
            raise CutoverRefused(self.blockers) from error

    def _pretend_locked(self) -> None:
        """The SQL of the cutover asks the lock for the grants; there is none yet. Rolled back with the rest."""
        if lock.owner(self.connection) is None:
            self.connection.execute(
                "insert into crm_migration.lock (run_id, phase, operator, host, pid, backend_pid, access_before)"
                " values (%s, 'held', '', '', 0, pg_backend_pid(), %s) on conflict (only_one) do update"
                " set phase = 'held', access_before = excluded.access_before",
                [self.run_id, Jsonb(self.locked.as_json())],
            )


@contextmanager
def _watchdog(connection: Connection, seconds: float) -> Iterator[None]:
    """Cancel what runs after so many seconds; 0 never does."""
    if not seconds:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        # again and again: a request that comes between two statements cancels nothing
        wait = seconds
        while not over.wait(wait):
            connection.cancel_safe()
            wait = _CANCEL_AGAIN

    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        # a late request must not hit the statement that comes next
        watcher.join()


def _first_line(error: psycopg.Error) -> str:
    message = error.diag.message_primary or str(error).splitlines()[0]
    return f"{message}: {error.diag.message_detail}" if error.diag.message_detail else message


def without_limit(settings: Settings) -> Settings:
    """For a rehearsal on a copy, where nobody waits."""
    return dataclasses.replace(settings, rehearsal_max_seconds=0.0)


def saved(connection: Connection, run_id: str) -> list[SavedObject]:
    """The objects that were made again against the new tables."""
    return dependants.load(connection, run_id, *dependants.REBUILT)
