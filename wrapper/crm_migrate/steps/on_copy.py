"""The dry run on a restored copy: everything for real, timed, rolled back there. The database itself is only read."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import backup, database, inputs, ledger, legacy, lock, roles, trigger_trial
from crm_migrate.database import Connection
from crm_migrate.errors import Interrupted, MigrationError, NoGo, Stopped
from crm_migrate.findings import Finding
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
UNTOUCHED = "The CRM itself was not changed; the copy is dropped."
_AGAIN = "crm-migrate dry-run --on-copy"


class CopySaysNo(NoGo):
    """What `apply` or `rollback` would do failed on the copy."""

    code = "CRM-303"


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
        except KeyboardInterrupt:
            interrupted = Interrupted("The dry run was interrupted.", state=UNTOUCHED, next=_AGAIN)
            _write_down(stage, interrupted)
            raise interrupted from None
        except MigrationError as error:
            _write_down(stage, error)
            raise
        except Exception as error:
            _write_down(stage, MigrationError("Something unexpected went wrong.", why=str(error), state=UNTOUCHED))
            raise


def _write_down(stage: Stage, error: MigrationError) -> None:
    # a NO-GO has to outdate an earlier GO: apply looks at the newest verdict
    state = "no_go" if isinstance(error, NoGo) else "failed"
    with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
        ledger.set_run(stage.connection, stage.run.run_id, state=state, finished_at="now", error=error.as_dict())


def _play(stage: Stage) -> DryRunReport:
    connection, settings, run = stage.connection, stage.settings, stage.run
    tried: DryRunReport | None = None
    done: ApplyReport | None = None
    troubles: list[Mapping[str, Any]] = []
    seconds: dict[str, float] = {}

    def try_it(work: Work) -> None:
        nonlocal tried
        with database.connect(there) as own:
            tried = dry_run.run(own, there, stage.observer, accepted=run.accepted)
            # `apply` asks for it where a trigger is carried, and this is the copy
            ledger.set_run(own, tried.run_id, summary={**tried.as_json(), "on_copy": {"here": True}})

    def do_it(work: Work) -> None:
        nonlocal done
        with _about_the_copy("The migration"), database.connect(there) as own:
            # the longer way: what it takes is what people are told
            done = apply.run(own, there, stage.observer, cold=True)

    def exercise(work: Work) -> None:
        with database.connect(there) as own:
            troubles.extend(trigger_trial.run(own, settings))
        stages.record_blockers(connection, run.run_id, "on_copy", troubles)

    def undo(work: Work) -> None:
        with _about_the_copy("The rollback"), database.connect(there) as own:
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
    reasons = [*tried.reasons, *(trouble["message"] for trouble in troubles)]
    stage.step("verdict", lambda work: work.detail.update(reasons=reasons))
    report = dataclasses.replace(
        tried,
        run_id=run.run_id,
        verdict="GO" if go else "NO-GO",
        reasons=reasons,
        findings=[*map(_finding, troubles), *tried.findings],
        estimate=estimated,
        steps=ledger.steps(connection, run.run_id),
        on_copy={
            "ok": go,
            "seconds": seconds,
            "troubles": plain(troubles),
            # which rows from before a rollback would not fit any more
            "put_back": plain(done.put_back) if done else None,
        },
    )
    ledger.set_run(
        connection,
        run.run_id,
        state="passed" if go else "no_go",
        verdict=report.verdict,
        summary=report.as_json(),
        finished_at="now",
    )
    return report


def _finding(trouble: Mapping[str, Any]) -> Finding:
    return Finding(
        id=trouble["code"],
        check_id="on_copy",
        gate="on_copy",
        severity="blocker",
        entity=trouble["entity"],
        rows=1,
        sample_keys=(),
        message=trouble["message"],
        hint=trouble["hint"],
    )


@contextmanager
def _about_the_copy(what: str) -> Iterator[None]:
    """Errors within speak of the copy; the operator must not go and unlock the CRM because of them."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted("The dry run was interrupted.", state=UNTOUCHED, next=_AGAIN) from error
    except Stopped as error:
        raise Stopped(
            f"{what} stopped on the copy. {error.what}", why=error.why, state=UNTOUCHED, next=_AGAIN
        ) from error
    except MigrationError as error:
        raise CopySaysNo(
            f"{what} failed on the copy. {error.what}",
            why=error.why,
            state=UNTOUCHED,
            next=f"Mend what is named above, then {_AGAIN}.",
        ) from error


@contextmanager
def _copy(stage: Stage) -> Iterator[Settings]:
    """Settings that lead to a restored copy; whatever was made for it is gone afterwards."""
    connection, settings, run = stage.connection, stage.settings, stage.run
    _remove_left_over(stage)
    folder = _folder(settings, run.run_id)
    made: list[backup.Backup] = []

    def dump(work: Work) -> None:
        made.append(backup.create(connection, settings, run_id=run.run_id, folder=folder, locked_state=None))
        work.detail |= {"bytes": made[0].bytes}

    own: dict[str, Any] = {"work_dir": folder, "backup_dir": folder / "backups"}
    try:
        stage.step("copy", dump)
        with _place(connection, settings, run.run_id) as dsn:
            backup.restore(made[0].path, dsn)
            # login roles belong to the whole server: those of the real application are left alone
            there = dataclasses.replace(settings, dsn=dsn, shut_out_logins=False, **own)
            with database.connect(there) as admin:
                # the ledger of the CRM came along; the copy starts with one of its own
                admin.execute("drop schema if exists crm_migration cascade")
            yield there
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _place(connection: Connection, settings: Settings, run_id: str) -> Iterator[str]:
    """An empty database: on the same server, or on a private one where this role may create none."""
    identifier = sql.Identifier(_name(run_id))
    create = sql.SQL("create database {} template template0").format(identifier)
    if _may_create_databases(connection):
        connection.execute(create)
        try:
            yield make_conninfo(settings.dsn, dbname=_name(run_id))
        finally:
            database.drop_database(connection, _name(run_id))
    else:
        with EmbeddedServer() as server:
            with database.connect(Settings(dsn=server.dsn())) as admin:
                roles.copy(connection, admin)
                admin.execute(create)
            yield server.dsn(_name(run_id))


def _remove_left_over(stage: Stage) -> None:
    """What a killed dry run of this database left: a whole copy of people's data."""
    for (run_id,) in stage.connection.execute(
        "select run_id from crm_migration.runs where kind = 'dry-run' and run_id <> %s", [stage.run.run_id]
    ).fetchall():
        shutil.rmtree(_folder(stage.settings, run_id), ignore_errors=True)
        if database.scalar(
            stage.connection, "select true from pg_catalog.pg_database where datname = %s", [_name(run_id)]
        ):
            database.drop_database(stage.connection, _name(run_id))


def _folder(settings: Settings, run_id: str) -> Path:
    return settings.work_dir / "copies" / run_id


def _name(run_id: str) -> str:
    return f"crm_rehearsal_{run_id}"[:63]


def _may_create_databases(connection: Connection) -> bool:
    return bool(
        database.scalar(
            connection,
            "select rolsuper or rolcreatedb from pg_catalog.pg_roles where rolname = current_user",
        )
    )
