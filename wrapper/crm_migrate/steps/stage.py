"""The stage a run plays on: its connection, its settings, its ledger entry and who watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg

from crm_migrate import (
    checks,
    control,
    data_tests,
    database,
    doctor,
    fault_points,
    ledger,
    legacy,
    lock,
    preparation,
    seeds,
    soda_scan,
    transform,
)
from crm_migrate.data_tests import DataTests
from crm_migrate.database import Connection
from crm_migrate.errors import ConfigurationError, NoGo
from crm_migrate.ledger import Run, Work
from crm_migrate.legacy import LegacySchema
from crm_migrate.observer import Observer
from crm_migrate.settings import Settings

UNLOCKED = "The CRM is unlocked again and its tables are as they were."
OPEN = "The CRM is not locked; its tables are as they were."


@dataclass(frozen=True)
class Stage:
    """Everything a step needs to know."""

    connection: Connection
    settings: Settings
    run: Run
    legacy: LegacySchema
    observer: Observer

    @cached_property
    def data_tests(self) -> DataTests:
        """The data tests that a run asks, compiled once."""
        return data_tests.read(self.settings, moving=self.run.kind != "apply")

    @property
    def moving(self) -> bool:
        """Whether people work meanwhile: nobody holds the lock."""
        return lock.stored_state(self.connection) is None

    def step(self, name: str, do: Callable[[Work], None]) -> None:
        """Do a step of the run unless the ledger says it is done, and tell the observer."""
        if ledger.is_done(self.connection, self.run.run_id, name):
            return
        self.observer.step_started(name)
        ledger.run_step(self.connection, self.run, name, do)
        done = next(step for step in ledger.steps(self.connection, self.run.run_id) if step.name == name)
        self.observer.step_done(name, done.seconds or 0.0, done.rows)


def examine(connection: Connection, settings: Settings) -> doctor.Examination:
    """Ask the doctor, and refuse when something is in the way.

    Raises:
        ConfigurationError: a blocker among the checks; lists all of them.
    """
    examination = doctor.examine(connection, settings)
    failed = [check for check in examination.checks if not check.ok and check.severity == "blocker"]
    if failed:
        raise Unfit(failed)
    return examination


def get_ready(stage: Stage, work: Work) -> None:
    """Ask the doctor, and have the tools at hand: nobody is locked out yet."""
    work.detail["layers"] = list(examine(stage.connection, stage.settings).layers)
    have_tools(stage, work)


def have_tools(stage: Stage, work: Work) -> None:
    """Have dbt read its project and compile its data tests, and Soda its own: that takes seconds, once in a process."""
    transform.read_project(stage.settings)
    soda_scan.get_ready()
    work.detail["tests"] = len(stage.data_tests.all)


class Unfit(ConfigurationError):
    """The doctor found something that has to be mended first."""

    code = "CRM-012"

    def __init__(self, failed: list[checks.Check]) -> None:
        super().__init__(
            what=" ".join(check.message for check in failed),
            why=", ".join(check.id for check in failed),
            next=" ".join(dict.fromkeys(check.hint for check in failed if check.hint)) or "crm-migrate doctor",
        )


class SeedsWrong(NoGo):
    """The mapping files do not fit each other or this database."""

    code = "CRM-310"

    def __init__(self, problems: list[seeds.SeedProblem]) -> None:
        count = sum(problem.count for problem in problems)
        first = [str(problem) for problem in problems[:10]]
        more = f" … and {count - 10} more." if count > 10 else ""
        super().__init__(
            what=f"{count} problem(s) in the mapping files. " + " ".join(first) + more,
            next="Correct these lines, then run crm-migrate dry-run again.",
        )


def transform_sources(stage: Stage, work: Work) -> None:
    """Load the mappings, make the views of staging, and ask their tests: enough for the source gate.

    Raises:
        failed_nodes.MappingRefused, failed_nodes.ChecksFailed: a NO-GO.
    """
    result = transform.build(stage.settings, stage.run.run_id, "sources_only", within_run=True)
    work.detail["models"] = result.seconds_by_model
    work.detail["tests"] = data_tests.ask(stage.settings, stage.data_tests.sources)


def transform_stage(stage: Stage, selector: transform.Selector, work: Work) -> None:
    """Build the marts of one stage in the build schema, batch by batch."""
    result = transform.build(stage.settings, stage.run.run_id, selector, within_run=True)
    work.rows = database.scalar(
        stage.connection,
        "select coalesce(sum(rows_written), 0)::bigint from crm_migration.batches"
        " where run_id = %s and model = any(%s)",
        [stage.run.run_id, list(result.seconds_by_model)],
    )
    work.detail["models"] = result.seconds_by_model


def ask_tests(stage: Stage, work: Work) -> None:
    """The models' own tests, but for those that the sources and the gates ask.

    Raises:
        failed_nodes.ChecksFailed: a NO-GO.
    """
    work.detail["tests"] = data_tests.ask(stage.settings, stage.data_tests.built)


def prepare(stage: Stage, work: Work) -> None:
    """Indexes, keys, identity and statistics in the build schema: all that is slow and touches no legacy table."""
    preparation.run(stage.connection, stage.settings, moving=stage.moving)
    keep_excluded(stage)


def keep_excluded(stage: Stage) -> None:
    """Copy the rows that a named rule leaves out: the oracles ask for them after the build schema is gone."""
    with stage.connection.transaction():
        stage.connection.execute("delete from crm_migration.excluded_rows where run_id = %s", [stage.run.run_id])
        stage.connection.execute(
            "insert into crm_migration.excluded_rows (run_id, entity, row_key, rule)"
            " select %s, entity, row_key::text, rule from crm_build.int_excluded_rows",
            [stage.run.run_id],
        )
    fault_points.reached("prepare.excluded-kept")


def record_blockers(
    connection: Connection,
    run_id: str,
    gate: str,
    blockers: Sequence[Mapping[str, Any]],
    infos: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write findings: what stands in the way, and what is worth knowing.

    Each has code, entity and message, and may have hint, rows and sample_keys.
    """
    connection.execute("delete from crm_migration.findings where run_id = %s and gate = %s", [run_id, gate])
    for severity, finding in [*(("blocker", item) for item in blockers), *(("info", item) for item in infos)]:
        connection.execute(
            """
            insert into crm_migration.findings
                (run_id, gate, check_id, code, entity, severity, rows, sample_keys, message, hint)
            values (%s, %s, %s, %s, %s, %s, %s, to_jsonb(%s::text[]), %s, %s)
            on conflict (run_id, gate, code, entity) do update set
                rows = findings.rows + excluded.rows,
                sample_keys = findings.sample_keys || excluded.sample_keys,
                message = findings.message || ' ' || excluded.message
            """,
            [
                run_id,
                gate,
                gate,
                finding["code"],
                finding["entity"],
                severity,
                finding.get("rows", 1),
                list(finding.get("sample_keys", ())),
                finding["message"],
                finding.get("hint", ""),
            ],
        )


def install(connection: Connection, settings: Settings) -> None:
    """Have the control schema; what speaks against it is said before anything is written.

    Raises:
        Unfit: a pooler is in between, or this role may not do what a migration needs.
        legacy.LegacyError: the database holds no legacy CRM, and the program was never here.
    """
    session = doctor.session(connection)
    if not session.ok:
        # an advisory lock would stay with a session of the pooler
        raise Unfit([session])
    try:
        if not control.installed(connection):
            legacy.detect(connection)
            examine(connection, settings)
        control.install(connection, settings)
    except psycopg.errors.InsufficientPrivilege:
        examine(connection, settings)
        raise
