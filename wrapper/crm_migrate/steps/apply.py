"""The migration itself: lock, build, check, cut over, verify, unlock. Goes on where it stopped."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

import psycopg

from crm_migrate import (
    archive,
    backup,
    control,
    cutover,
    database,
    findings,
    fingerprint,
    gates,
    ledger,
    lock,
    outcomes,
    put_back,
    trial_restore,
    verification,
)
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError, NoGo
from crm_migrate.gate_checks import Gate
from crm_migrate.ledger import Work
from crm_migrate.observer import Observer
from crm_migrate.reports import ApplyReport, apply_report, plain
from crm_migrate.resources import Sampler
from crm_migrate.settings import Settings
from crm_migrate.steps import admission, dry_run, ways_out
from crm_migrate.steps import deadline as deadlines
from crm_migrate.steps import stage as stages
from crm_migrate.steps.stage import Stage
from crm_migrate.steps.warm import Warm, is_warm

# with what is done before the lock when the dry run's build is gone on with
WARM_STEPS = (
    "doctor",
    "base",
    "sources",
    "source_gate",
    "lock",
    "changes",
    "backup",
    "archive",
    "transform_stage_1",
    "transform_stage_1_5",
    "prepare",
    "tests",
    "gates",
    "cutover",
    "validate",
    "verify",
    "put_back",
    "unlock",
)
STEPS = (
    "doctor",
    "lock",
    "backup",
    "archive",
    "sources",
    "transform_stage_1",
    "transform_stage_1_5",
    "prepare",
    "tests",
    "gates",
    "cutover",
    "validate",
    "verify",
    "put_back",
    "unlock",
)


class GateSaysNo(NoGo):
    """The checks said no, under the lock or before it; the CRM is open and the legacy database is as it was."""

    code = "CRM-302"


class VerificationFailed(MigrationError):
    """The migrated database is not what it must be. It stays locked until somebody decides."""

    code, exit_code = "CRM-500", Exit.VERIFICATION_FAILED

    def __init__(self, why: str) -> None:
        super().__init__(
            what="The migrated database did not pass its verification.",
            why=why,
            state="The new tables are published, and the CRM stays locked: nobody has worked with them yet.",
            next="crm-migrate rollback brings the legacy database back; crm-migrate unlock"
            " --accept-failed-verification --reason TEXT opens it as it is.",
        )


def run(
    connection: Connection,
    settings: Settings,
    observer: Observer,
    *,
    deadline: datetime | None = None,
    cold: bool = False,
) -> ApplyReport:
    """Migrate the database, or go on with an unfinished migration.

    Args:
        deadline: stop before the cutover, unlocked, when it would be over later.
        cold: build everything anew under the lock, although the dry run's build was kept.

    Raises:
        admission.NoDryRun, inputs.InputsChanged: no passed dry run of exactly this, or it is too old.
        GateSaysNo: the data changed since the dry run; unlocked, nothing changed.
        deadline.DeadlinePassed: stopped before the cutover, unlocked.
        VerificationFailed: after the cutover; stays locked.
    """
    stages.install(connection, settings)
    lock.claim(connection)
    run = ledger.latest(connection, "apply", states=ledger.UNFINISHED)
    if run is not None and run.cutover_at is None and admission.is_out_of_date(connection, run):
        ledger.set_run(connection, run.run_id, state="failed", finished_at="now")
        run = None
    resumed = run is not None
    if not resumed:
        outcomes.forget(connection)
    run, found = (
        admission.resume(connection, settings, run)
        if run is not None
        else admission.begin(connection, settings, {"warm": WARM_STEPS, "cold": STEPS}, cold=cold)
    )
    observer.run_started(run.run_id, run.kind, resumed=resumed)
    stage = Stage(connection, settings, run, found, observer)
    with Sampler(settings, run.run_id), ways_out.taken(stage):
        _until_cutover(stage, deadline)
        _from_cutover(stage)
    return apply_report(connection, settings, ledger.get(connection, run.run_id))


def _until_cutover(stage: Stage, deadline: datetime | None) -> None:
    connection, settings, run = stage.connection, stage.settings, stage.run
    if cutover.is_done(connection, run.run_id):
        return
    stage.step("doctor", lambda work: stages.get_ready(stage, work))
    with ExitStack() as opened:
        warm = Warm(stage, opened) if is_warm(run.summary) else None
        if ledger.is_done(connection, run.run_id, "lock") and lock.owner(connection) is not None:
            # a resumed run: the lock's connection died with the process, what it changed did not
            lock.acquire(connection, settings, run_id=run.run_id)
        elif warm is not None:
            # what another process laid down is of no use to this one
            ledger.reopen(connection, run.run_id, "base", "source_gate")
            stage.step("base", warm.lay_base)
            stage.step("sources", warm.read_models)
            stage.step("source_gate", lambda work: pass_source_gate(stage, warm, work))
        stage.step("lock", lambda work: take_lock(stage, work))
        if warm is not None:
            stage.step("changes", warm.find_changes)
        with ThreadPoolExecutor(1, "backup") as pool:
            saved = pool.submit(_back_up, stage, warm)
            try:
                _build(stage, warm)
            finally:
                failure = _result(saved)
        if failure is not None:
            raise failure
    deadlines.keep(stage, deadline)


def take_lock(stage: Stage, work: Work) -> None:
    """Nobody writes from here on."""
    work.detail["checkpoint"] = write_what_is_in_memory(stage.connection)
    lock.acquire(stage.connection, stage.settings, run_id=stage.run.run_id)
    lock.wait_until_writers_are_gone(stage.connection)
    owner = lock.owner(stage.connection)
    work.detail["layers"] = list(owner.layers if owner else ())
    ledger.set_run(stage.connection, stage.run.run_id, locked_at="now")


def write_what_is_in_memory(connection: Connection) -> bool:
    """A checkpoint, so that the server does not write under the lock what was changed before it.

    Returns:
        Whether the role may ask for one: it needs `pg_checkpoint`, and what is done without it takes a little longer.
    """
    try:
        connection.execute("checkpoint")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _back_up(stage: Stage, warm: Warm | None) -> None:
    # beside the transformation: both read what the lock holds still
    with database.connect(stage.settings, application="crm-migrate backup") as connection:
        beside = Stage(connection, stage.settings, stage.run, stage.legacy, stage.observer)
        if warm is not None and warm.base is not None:
            beside.step("backup", lambda work: warm.back_up(beside, work))
        else:
            beside.step("backup", lambda work: back_up(beside, work))
        if warm is not None:
            warm.prove(beside)


def back_up(stage: Stage, work: Work) -> None:
    """Dump, restore into a scratch database, compare: without this there is no cutover."""
    state = lock.stored_state(stage.connection)
    made = backup.create(
        stage.connection,
        stage.settings,
        run_id=stage.run.run_id,
        folder=stage.settings.backup_dir,
        locked_state=None if state is None else state.as_json(),
    )
    tested = trial_restore.run(stage.connection, stage.settings, made)
    # its tables were read whole, and the restored ones held against them: nobody has to read them again
    known = {
        name.removeprefix("public."): content.as_dict()
        for name, content in made.tables.items()
        if name.startswith("public.")
    }
    fingerprint.remember(stage.connection, stage.run.run_id, "before", state, stage.settings, known)
    work.detail |= {"path": str(made.path), "bytes": made.bytes, "restore_tested": tested.ok}


def _result(future: Future[None]) -> BaseException | None:
    return future.exception()


def _build(stage: Stage, warm: Warm | None) -> None:
    connection, settings, run = stage.connection, stage.settings, stage.run
    if warm is not None and warm.base is not None:
        stage.step("archive", warm.catch_up_archive)
    else:
        stage.step("archive", lambda work: copy_archive(stage, work))
    if warm is not None and warm.goes_on:
        stage.step("transform_stage_1", lambda work: warm.transform("stage_1", work))
        stage.step("transform_stage_1_5", lambda work: warm.transform("stage_1_5", work))
        stage.step("prepare", lambda work: stages.prepare(stage, work))
        stage.step("tests", warm.ask_tests)
    else:
        if not ledger.is_done(connection, run.run_id, "gates"):
            control.begin_build(connection, run.run_id, settings.batch_size)
        stage.step("sources", lambda work: stages.transform_sources(stage, work))
        stage.step("transform_stage_1", lambda work: stages.transform_stage(stage, "stage_1", work))
        stage.step("transform_stage_1_5", lambda work: stages.transform_stage(stage, "stage_1_5", work))
        stage.step("prepare", lambda work: stages.prepare(stage, work))
        stage.step("tests", lambda work: stages.ask_tests(stage, work))
    stands = warm.standing if warm is not None and warm.goes_on else ()
    stage.step("gates", lambda work: pass_gates(stage, work, stands))


def copy_archive(stage: Stage, work: Work) -> None:
    """Keep every legacy table that is changed in place, as it is now."""
    work.rows = archive.copy(stage.connection, stage.legacy, stage.settings)


def pass_source_gate(stage: Stage, warm: Warm, work: Work) -> None:
    """Source gate before the lock: nobody is locked out for a NO-GO, and what stands is not asked again.

    Raises:
        GateSaysNo: lists the reasons.
    """
    warm.ask_source_gate(work)
    _require_go(stage, work, when="Before the lock", state=stages.OPEN)


def pass_gates(stage: Stage, work: Work, standing: Collection[str]) -> None:
    """Source and target gate under the lock, with the acceptances of the dry run.

    Args:
        standing: codes of checks of the source gate that were asked before the lock, about what nobody changed since.

    Raises:
        GateSaysNo: lists the reasons.
    """
    checks = {}
    under_lock: tuple[tuple[Gate, Collection[str]], ...] = (("source", standing), ("target", ()))
    for gate, codes in under_lock:
        dry_run.run_gate(stage, gate, work, standing=codes)
        checks[gate] = work.detail.pop("checks")
    work.detail["checks"] = checks
    _require_go(stage, work, when="Under the lock", state=stages.UNLOCKED)


def _require_go(stage: Stage, work: Work, *, when: str, state: str) -> None:
    verdict = findings.verdict(stage.connection, stage.settings, stage.run.run_id, stage.run.accepted)
    work.detail["reasons"] = list(verdict.reasons)
    if not verdict.go:
        raise GateSaysNo(
            f"{when} the checks said NO-GO. " + " ".join(verdict.reasons[:5]),
            state=state,
            next="crm-migrate dry-run",
        )


def _from_cutover(stage: Stage) -> None:
    connection, run = stage.connection, stage.run
    stage.step("cutover", lambda work: cut_over(stage, work))
    stage.step("validate", lambda work: validate(stage, work))
    stage.step("verify", lambda work: verify(stage, work))
    stage.step("put_back", lambda work: put_back_rows(stage, work))
    stage.step("unlock", lambda work: unlock(stage))
    ledger.set_run(connection, run.run_id, state="completed", verdict="GO", finished_at="now", error=None)


def cut_over(stage: Stage, work: Work) -> None:
    """Publish the new tables and archive the old, in one transaction."""
    connection, settings, run = stage.connection, stage.settings, stage.run
    if not cutover.is_done(connection, run.run_id):
        result = cutover.execute(connection, settings, run.run_id, stage.legacy, lock.require_held(connection))
        work.detail["seconds"] = result.seconds


def validate(stage: Stage, work: Work) -> None:
    """Check the constraints that the cutover made without checking."""
    work.detail["constraints"] = cutover.validate(stage.connection, stage.settings)


def verify(stage: Stage, work: Work) -> None:
    """Published gate and oracles over all rows.

    Raises:
        VerificationFailed: it stays locked.
    """
    gate = gates.run(stage.settings, stage.connection, "published", stage.run.run_id)
    blockers = [finding for finding in gate.findings if finding.severity == "blocker"]
    result = verification.run(
        stage.connection,
        stage.settings,
        stage.run.run_id,
        stage.legacy,
        sample=stage.settings.sample_size,
        seed=stage.settings.sample_seed,
    )
    work.detail |= {"oracles": {oracle.id: oracle.ok for oracle in result.oracles}}
    reasons = [finding.message for finding in blockers]
    reasons += [f"{oracle.id}: {oracle.message}" for oracle in result.oracles if oracle.ok is False]
    if reasons:
        raise VerificationFailed(" ".join(reasons[:5]))


def put_back_rows(stage: Stage, work: Work) -> None:
    """Put back what people did before a rollback and the legacy tables could not hold."""
    put_back.execute(stage.connection, stage.settings, stage.run.run_id)
    done = put_back.result(stage.connection, stage.run.run_id)
    work.rows = done.total or None
    work.detail |= plain(done)
    ledger.add_to_summary(stage.connection, stage.run.run_id, put_back=plain(done))


def unlock(stage: Stage) -> None:
    """People may work again, with the new tables and through the compatibility views."""
    lock.release(stage.connection, stage.settings)
    if ledger.get(stage.connection, stage.run.run_id).unlocked_at is None:
        ledger.set_run(stage.connection, stage.run.run_id, unlocked_at="now")
    # takes seconds, and nobody waits for it any more
    control.end_build(stage.connection)
