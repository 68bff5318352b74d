"""The dry run: everything that `apply` would do, without touching the CRM, and a verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace

from psycopg import sql

from crm_migrate import (
    access,
    compiled,
    control,
    cutover,
    database,
    estimate,
    findings,
    gates,
    inputs,
    kept_build,
    ledger,
    legacy,
    lock,
    outcomes,
    row_versions,
    seeds,
)
from crm_migrate.access import AccessState
from crm_migrate.cutover import CutoverResult
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError
from crm_migrate.gate_checks import Gate
from crm_migrate.ledger import Run, Work
from crm_migrate.observer import Observer
from crm_migrate.reports import DryRunReport, dry_run_report
from crm_migrate.resources import Sampler
from crm_migrate.settings import Settings
from crm_migrate.steps import stage as stages
from crm_migrate.steps.stage import Stage

STEPS = (
    "doctor",
    "seeds",
    "sources",
    "source_gate",
    "row_versions",
    "transform_stage_1",
    "transform_stage_1_5",
    "prepare",
    "tests",
    "target_gate",
    "outcomes",
    "rehearsal",
    "verdict",
)
QUICK_STEPS = ("doctor", "seeds", "sources", "source_gate", "verdict")


def run(
    connection: Connection,
    settings: Settings,
    observer: Observer,
    *,
    accepted: Mapping[str, str],
    quick: bool = False,
    keep_build: bool = False,
    compare: str | None = None,
) -> DryRunReport:
    """Try the migration on the database as it is, while people work with it.

    Args:
        accepted: warnings by code, with the reason for which each is accepted.
        quick: check without building; its verdict is not enough for `apply`.
        keep_build: leave the build schema for people to look at.
        compare: an earlier dry run, or `last`: say which rows have another outcome than then.

    Raises:
        MigrationError: something kept the dry run from finishing; a NO-GO is not an error but a verdict.
    """
    stages.install(connection, settings)
    lock.claim(connection)
    _refuse_under_lock(connection)
    found = legacy.detect(connection)
    earlier = outcomes.require(connection, compare) if compare is not None else None
    taken = inputs.take(connection, settings)
    for unfinished in _unfinished(connection):
        ledger.set_run(connection, unfinished.run_id, state="failed", finished_at="now")
    run = ledger.start(
        connection,
        settings,
        "dry-run",
        QUICK_STEPS if quick else STEPS,
        generation=found.generation,
        inputs=taken,
        accepted=accepted,
    )
    observer.run_started(run.run_id, run.kind, resumed=False)
    stage = Stage(connection, settings, run, found, observer)
    with Sampler(settings, run.run_id):
        try:
            return _play(stage, quick=quick, earlier=earlier)
        except MigrationError as error:
            if not connection.closed:
                ledger.set_run(connection, run.run_id, state="failed", finished_at="now", error=error.as_dict())
            raise
        finally:
            if not connection.closed and not keep_build:
                _leave_build(connection, run.run_id)


def _leave_build(connection: Connection, run_id: str) -> None:
    """Keep what a passed dry run built, for the apply to go on with; everything else is dropped."""
    steps = {step.name: step for step in ledger.steps(connection, run_id)}
    remembered = "row_versions" in steps and not steps["row_versions"].detail.get("without_key")
    if remembered and ledger.get(connection, run_id).state == "passed":
        kept_build.keep(connection, run_id)
    else:
        control.end_build(connection)


def _play(stage: Stage, *, quick: bool, earlier: str | None) -> DryRunReport:
    connection, settings, run = stage.connection, stage.settings, stage.run
    started = findings.snapshot(connection)
    rehearsed: CutoverResult | None = None

    def rehearse(work: Work) -> None:
        nonlocal rehearsed
        rehearsed = rehearse_cutover(stage, access.capture(connection))
        work.detail |= {"seconds": rehearsed.seconds}

    stage.step("doctor", lambda work: work.detail.update(layers=list(stages.examine(connection, settings).layers)))
    stage.step("seeds", lambda work: check_seeds(stage, work))
    control.begin_build(connection, run.run_id, settings.batch_size)
    stage.step("sources", lambda work: stages.transform_sources(stage, work))
    stage.step("source_gate", lambda work: run_gate(stage, "source", work))
    if not quick:
        stage.step("row_versions", lambda work: remember_versions(stage, work))
        stage.step("transform_stage_1", lambda work: stages.transform_stage(stage, "stage_1", work))
        stage.step("transform_stage_1_5", lambda work: stages.transform_stage(stage, "stage_1_5", work))
        stage.step("prepare", lambda work: stages.prepare(stage, work))
        stage.step("tests", lambda work: stages.ask_tests(stage, work))
        stage.step("target_gate", lambda work: run_gate(stage, "target", work))
        stage.step("outcomes", lambda work: _keep_outcomes(stage, work, earlier))
        stage.step("rehearsal", rehearse)
    findings.recheck_moved(connection, run.run_id, started)

    verdict = findings.verdict(connection, settings, run.run_id, run.accepted)
    stage.step("verdict", lambda work: work.detail.update(reasons=list(verdict.reasons)))
    estimated = None if quick else estimate.of_dry_run(connection, settings, run.run_id)
    report = dry_run_report(connection, run, verdict, rehearsed, estimated)
    if earlier is not None:
        report = replace(report, comparison=outcomes.compare(connection, earlier, run.run_id))
    passed = verdict.go and not quick
    ledger.set_run(
        connection,
        run.run_id,
        state="passed" if passed else "no_go" if not verdict.go else "completed",
        verdict="GO" if verdict.go else "NO-GO",
        summary=report.as_json(),
        finished_at="now",
    )
    return report


def _keep_outcomes(stage: Stage, work: Work, earlier: str | None) -> None:
    work.rows = outcomes.keep(stage.connection, stage.run.run_id, compared=earlier)


def remember_versions(stage: Stage, work: Work) -> None:
    """Remember the rows that the models are about to read: what is another one then has to be read again."""
    names = [sql.Identifier("public", name).as_string(None) for name in compiled.sources(stage.settings)]
    relations = [name for name in names if database.exists(stage.connection, name)]
    keyless, work.rows = row_versions.remember(stage.connection, kept_build.LABEL, relations)
    work.detail["without_key"] = keyless


def check_seeds(stage: Stage, work: Work) -> None:
    """Hold the mapping files against their rules and against the database.

    Raises:
        SeedsWrong: with file and line of each problem; a build with a wrong mapping would say little.
    """
    problems = seeds.check(stage.connection, stage.settings.seeds_dir)
    stages.record_blockers(
        stage.connection,
        stage.run.run_id,
        "seeds",
        [
            {
                "code": problem.code,
                "entity": "seeds",
                "message": str(problem),
                "hint": "Correct the line in the mapping file.",
                "rows": problem.count,
                "sample_keys": [problem.where],
            }
            for problem in problems
        ],
    )
    if problems:
        raise stages.SeedsWrong(problems)
    # here, and not in the first build and the first gate, whose time goes into the estimate
    stages.have_tools(stage, work)


def run_gate(
    stage: Stage, gate: Gate, work: Work, *, snapshot: str | None = None, standing: Collection[str] = ()
) -> None:
    """Let Soda check, and keep what it counted, and how many checks had their answer already."""
    result = gates.run(stage.settings, stage.connection, gate, stage.run.run_id, snapshot=snapshot, standing=standing)
    work.detail["checks"] = {
        "expected": result.expected,
        "evaluated": result.evaluated,
        "errored": result.errored,
    } | ({"standing": len(standing)} if standing else {})


def rehearse_cutover(stage: Stage, locked: AccessState) -> CutoverResult:
    """Execute the whole cutover and roll it back; what cannot be carried is a blocker, what will differ an info."""
    result = cutover.execute(stage.connection, stage.settings, stage.run.run_id, stage.legacy, locked, rehearse=True)
    stages.record_blockers(
        stage.connection,
        stage.run.run_id,
        "rehearsal",
        [asdict(blocker) for blocker in result.blockers],
        [asdict(warning) for warning in result.warnings],
    )
    return result


def _unfinished(connection: Connection) -> list[Run]:
    run = ledger.latest(connection, "dry-run", states=ledger.UNFINISHED)
    return [run] if run else []


def _refuse_under_lock(connection: Connection) -> None:
    owner = lock.owner(connection)
    if owner is not None:
        raise lock.LockHeld(owner)
