"""The dry run on a restored copy: everything for real, timed, rolled back there. The database itself is only read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import backup, database, inputs, ledger, legacy, lock, trigger_trial
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError
from crm_migrate.ledger import Work
from crm_migrate.observer import Observer
from crm_migrate.reports import ApplyReport, DryRunReport, plain
from crm_migrate.resources import Sampler
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback
from crm_migrate.steps import stage as stages
from crm_migrate.steps.stage import Stage

STEPS = ("doctor", "copy", "dry_run", "apply", "exercise", "rollback", "verdict")


def run(connection: Connection, settings: Settings, observer: Observer, *, accepted: Mapping[str, str]) -> DryRunReport:
    """Back up, restore into a scratch database, migrate and roll back there under the lock.

    The copy is on the same server; where this role may not create a database, on a private server of this machine.

    Raises:
        MigrationError: something kept the dry run from finishing. The scratch database is dropped in any case.
    """
    stages.install(connection, settings)
    lock.claim(connection)
    owner = lock.owner(connection)
    if owner is not None:
        raise lock.LockHeld(owner)
    found = legacy.detect(connection)
    run = ledger.start(
        connection,
        settings,
        "dry-run",
        STEPS,
        generation=found.generation,
        inputs=inputs.take(connection, settings),
        accepted=accepted,
    )
    observer.run_started(run.run_id, run.kind, resumed=False)
    stage = Stage(connection, settings, run, found, observer)
    with Sampler(settings, run.run_id):
        try:
            return _play(stage)
        except MigrationError as error:
            if not connection.closed:
                ledger.set_run(connection, run.run_id, state="failed", finished_at="now", error=error.as_dict())
            raise


def _play(stage: Stage) -> DryRunReport:
    connection, settings, run = stage.connection, stage.settings, stage.run
    tried: DryRunReport | None = None
    done: ApplyReport | None = None
    troubles: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}

    def try_it(work: Work) -> None:
        nonlocal tried
        with database.connect(there) as own:
            tried = dry_run.run(own, there, stage.observer, accepted=run.accepted)

    def do_it(work: Work) -> None:
        nonlocal done
        with database.connect(there) as own:
            done = apply.run(own, there, stage.observer)

    def exercise(work: Work) -> None:
        with database.connect(there) as own:
            troubles.extend(trigger_trial.run(own, settings))

    def undo(work: Work) -> None:
        with database.connect(there) as own:
            rollback.run(own, there, stage.observer, keep_changes=False)

    stage.step("doctor", lambda work: work.detail.update(layers=list(stages.examine(connection, settings).layers)))
    with _copy(stage) as there:
        stage.step("dry_run", try_it)
        if tried is not None and tried.verdict == "GO":
            stage.step("apply", do_it)
            stage.step("exercise", exercise)
            stage.step("rollback", undo)
    if tried is None:
        raise RuntimeError("the dry run on the copy left no report")
    go = tried.verdict == "GO" and not troubles
    if done is not None:
        seconds = {step.name: round(step.seconds or 0.0, 2) for step in done.steps}
    estimated = tried.estimate
    if estimated is not None and done is not None:
        # measured, not estimated: the copy was locked, cut over and unlocked for real
        estimated = dataclasses.replace(
            estimated,
            downtime_seconds=done.downtime_seconds,
            downtime_seconds_with_buffer=round(done.downtime_seconds * (1 + settings.buffer_percent / 100), 1),
            parts=seconds,
        )
    report = dataclasses.replace(
        tried,
        run_id=run.run_id,
        verdict="GO" if go else "NO-GO",
        reasons=[*tried.reasons, *(trouble["message"] for trouble in troubles)],
        estimate=estimated,
        on_copy={"ok": go, "seconds": seconds, "troubles": plain(troubles)},
    )
    stage.step("verdict", lambda work: work.detail.update(reasons=list(report.reasons)))
    ledger.set_run(
        connection,
        run.run_id,
        state="passed" if go else "no_go",
        verdict=report.verdict,
        summary=report.as_json(),
        finished_at="now",
    )
    return report


@contextmanager
def _copy(stage: Stage) -> Iterator[Settings]:
    """Settings that lead to a restored copy."""
    connection, settings, run = stage.connection, stage.settings, stage.run
    made: list[backup.Backup] = []

    def dump(work: Work) -> None:
        made.append(
            backup.create(
                connection, settings, run_id=run.run_id, folder=settings.work_dir / "copies", locked_state=None
            )
        )
        work.detail |= {"path": str(made[0].path), "bytes": made[0].bytes}

    stage.step("copy", dump)
    name = f"crm_rehearsal_{run.run_id}"[:63]
    own: dict[str, Any] = {"work_dir": settings.work_dir / "copy", "backup_dir": settings.work_dir / "copy" / "backups"}
    if _may_create_databases(connection):
        identifier = sql.Identifier(name)
        connection.execute(sql.SQL("create database {} template template0").format(identifier))
        try:
            dsn = make_conninfo(settings.dsn, dbname=name)
            backup.restore(made[0].path, dsn)
            # login roles belong to the whole server: those of the real application are left alone
            yield dataclasses.replace(settings, dsn=dsn, shut_out_logins=False, **own)
        finally:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
            backup.delete(made[0])
    else:
        with EmbeddedServer() as server:
            with database.connect(Settings(dsn=server.dsn())) as admin:
                backup.copy_roles(connection, admin)
                admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
            backup.restore(made[0].path, server.dsn(name))
            yield dataclasses.replace(settings, dsn=server.dsn(name), **own)
        backup.delete(made[0])


def _may_create_databases(connection: Connection) -> bool:
    return bool(
        database.scalar(
            connection,
            "select rolsuper or rolcreatedb from pg_catalog.pg_roles where rolname = current_user",
        )
    )
