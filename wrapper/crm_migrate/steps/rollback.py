"""The way back: lock, carry over what people changed, legacy schema as it was, proof, unlock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from crm_migrate import archive, control, database, fault_points, ledger, lock, rollback
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, Interrupted, MigrationError, UsageError, WrongState
from crm_migrate.ledger import Run, Work
from crm_migrate.legacy import LegacySchema
from crm_migrate.observer import Observer
from crm_migrate.reports import plain
from crm_migrate.resources import Sampler
from crm_migrate.settings import Settings
from crm_migrate.steps import persistence
from crm_migrate.steps import stage as stages
from crm_migrate.steps.stage import Stage

STEPS = ("lock", "rollback", "prove", "unlock")


class WindowClosed(MigrationError):
    """The time in which a rollback is promised is over."""

    code, exit_code = "CRM-600", Exit.WINDOW


class NotAsBefore(MigrationError):
    """After the rollback something differs from the state before the run."""

    code, exit_code = "CRM-510", Exit.VERIFICATION_FAILED


@dataclass(frozen=True)
class RollbackReport:
    """What was carried over and what was exported."""

    run_id: str
    apply_run_id: str
    carried_over: dict[str, Any]
    exported: str | None
    exported_rows: dict[str, dict[str, int]]
    differences: list[Any]
    revived: dict[str, list[str]]
    orphaned: list[str]
    dropped_objects: list[str]
    seconds: float

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the rollback's JSON document."""
        return {key: value for key, value in plain(self).items() if key != "run_id"}


def run(
    connection: Connection,
    settings: Settings,
    observer: Observer,
    *,
    keep_changes: bool = True,
    force_reason: str | None = None,
) -> RollbackReport:
    """Bring the legacy schema back, or go on with an unfinished rollback.

    Args:
        keep_changes: carry over what people changed since the cutover; otherwise exactly the state before the run.
        force_reason: why a rollback is done although its window is closed; recorded.

    Raises:
        WrongState: nothing to roll back.
        WindowClosed: more than `rollback_hours` since the cutover, by the server's clock.
    """
    if not control.installed(connection):
        raise WrongState("This database was never migrated; there is nothing to roll back.", next="crm-migrate status")
    stages.install(connection, settings)
    lock.claim(connection)
    migrated = migrated_run(connection)
    archive.require_whole(connection, migrated.run_id)
    unfinished = ledger.latest(connection, "rollback", states=ledger.UNFINISHED)
    if unfinished is not None and unfinished.dry_run_id == migrated.run_id:
        if unfinished.summary.get("keep_changes", True) != keep_changes:
            raise UsageError(
                "The unfinished rollback was started with the other choice about people's changes.",
                next="crm-migrate rollback " + ("--discard-changes" if keep_changes else "--keep-changes"),
            )
        run = ledger.resume(connection, unfinished)
    else:
        require_window(connection, migrated, force_reason)
        run = ledger.start(
            connection,
            settings,
            "rollback",
            STEPS,
            generation=migrated.generation,
            inputs=migrated.inputs,
            dry_run_id=migrated.run_id,
            summary={"keep_changes": keep_changes, "forced_because": force_reason},
        )
    observer.run_started(run.run_id, run.kind, resumed=unfinished is not None)
    stage = Stage(connection, settings, run, LegacySchema.from_json(migrated.summary["legacy"]), observer)
    try:
        with Sampler(settings, run.run_id):
            return _play(stage, migrated, keep_changes=keep_changes)
    except KeyboardInterrupt:
        state = "locked" if lock.owner(connection) is not None else "not locked"
        raise Interrupted(
            "The rollback was interrupted.", state=f"The CRM is {state}.", next="crm-migrate rollback goes on."
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise persistence.stopped(
            connection,
            error,
            state="The rollback happens whole or not at all; the CRM may be locked.",
            command="crm-migrate rollback",
        ) from error
    except MigrationError as error:
        if not connection.closed:
            connection.execute(
                "update crm_migration.runs set state = 'stopped', error = %s where run_id = %s",
                [Jsonb(error.as_dict()), run.run_id],
            )
        raise


def migrated_run(connection: Connection) -> Run:
    """The migration that a rollback would undo.

    Raises:
        WrongState: there is none.
    """
    # the newest: one that was given up before it stays in the ledger as failed
    done = ledger.latest(connection, "apply", states=("completed", *ledger.UNFINISHED))
    if done is None or (done.cutover_at is None):
        raise WrongState(
            "There is no migration to roll back.",
            why="An unfinished run before its cutover is given up by crm-migrate unlock." if done else "",
            next="crm-migrate status",
        )
    return done


def require_window(connection: Connection, migrated: Run, force_reason: str | None) -> None:
    """Only in time, by the server's clock, or with a reason.

    Raises:
        WindowClosed: too late.
    """
    late = database.scalar(
        connection,
        "select extract(epoch from clock_timestamp() - rollback_until)::float8"
        " from crm_migration.runs where run_id = %s",
        [migrated.run_id],
    )
    if late > 0 and not force_reason:
        raise WindowClosed(
            f"The rollback window closed {late / 3600:.1f} hours ago, at {migrated.rollback_until:%Y-%m-%d %H:%M} UTC.",
            next="crm-migrate rollback --force --reason TEXT, if you must",
        )


def _play(stage: Stage, migrated: Run, *, keep_changes: bool) -> RollbackReport:
    connection, settings, run = stage.connection, stage.settings, stage.run

    def bring_back(work: Work) -> None:
        done = rollback.result(connection, migrated.run_id)
        if done is None:
            done = rollback.execute(
                connection,
                settings,
                migrated.run_id,
                keep_changes=keep_changes,
                export_dir=settings.work_dir / "exports",
            )
        work.detail |= done.as_json()
        ledger.add_to_summary(connection, run.run_id, exported_rows=done.exported_rows)

    def prove(work: Work) -> None:
        differences = rollback.prove(connection, settings, migrated.run_id, keep_changes=keep_changes)
        work.detail["differences"] = plain(differences)
        if differences:
            raise NotAsBefore(
                f"After the rollback {len(differences)} thing(s) differ from before: "
                + "; ".join(f"{item.kind} {item.identity}" for item in differences[:5]),
                state="The legacy tables are back. The CRM stays locked.",
                next="crm-migrate unlock --accept-failed-verification --reason TEXT, after looking at them",
            )

    if ledger.is_done(connection, run.run_id, "lock") and not ledger.is_done(connection, run.run_id, "unlock"):
        # a resumed run: the lock's connection died with the process, or the process died while it unlocked
        lock.acquire(connection, settings, run_id=run.run_id)
    stage.step("lock", lambda work: _lock(stage, work))
    stage.step("rollback", bring_back)
    stage.step("prove", prove)
    stage.step("unlock", lambda work: _unlock(stage))
    with connection.transaction():
        # both or none: an unfinished rollback of a run that is rolled back would find nothing to go on with
        ledger.set_run(connection, migrated.run_id, state="rolled_back")
        ledger.set_run(connection, run.run_id, state="completed", finished_at="now", error=None)
    fault_points.reached("rollback.completed")
    steps = {step.name: step for step in ledger.steps(connection, run.run_id)}
    detail = steps["rollback"].detail
    return RollbackReport(
        run_id=run.run_id,
        apply_run_id=migrated.run_id,
        carried_over=dict(detail.get("carried_over", {})),
        exported=detail.get("exported"),
        exported_rows=dict(detail.get("exported_rows", {})),
        differences=list(steps["prove"].detail.get("differences", [])),
        revived=dict(detail.get("revived", {})),
        orphaned=list(detail.get("orphaned", [])),
        dropped_objects=list(detail.get("dropped_objects", [])),
        seconds=sum(step.seconds or 0.0 for step in steps.values()),
    )


def _lock(stage: Stage, work: Work) -> None:
    lock.acquire(stage.connection, stage.settings, run_id=stage.run.run_id)
    lock.wait_until_writers_are_gone(stage.connection)


def _unlock(stage: Stage) -> None:
    lock.release(stage.connection, stage.settings)
    control.end_build(stage.connection)
