"""The transformation: the models of `dbt_project`, built by dbt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from psycopg import sql

from crm_migrate import database, dbt_process, left_out, parallel
from crm_migrate.database import Connection
from crm_migrate.dbt_process import (
    BUILD_SCHEMA,
    THREADS,
    Failure,
    NothingSelected,
    Progress,
    TransformFailed,
    TransformStopped,
)
from crm_migrate.errors import NoGo
from crm_migrate.settings import Settings

__all__ = [
    "BUILD_SCHEMA",
    "THREADS",
    "ChecksFailed",
    "Failure",
    "MappingRefused",
    "NothingSelected",
    "Progress",
    "TransformFailed",
    "TransformResult",
    "TransformStopped",
    "build",
    "run",
    "unit_tests",
]

Selector = Literal["sources_only", "stage_1", "stage_1_5"]


@dataclass(frozen=True)
class TransformResult:
    """What one build did."""

    selector: str
    seconds: float
    seconds_by_model: Mapping[str, float]
    rows_written: Mapping[str, int]
    rows_rejected: Mapping[str, int]
    tests: int


@dataclass(frozen=True)
class DataTest:
    """A data test as dbt knows it, and its query, which finds the rows that fail."""

    node: Any
    query: str

    @property
    def wants_no_row(self) -> bool:
        """Whether it fails on the first row and on nothing else."""
        config = self.node.config
        plain = (str(config.severity).lower(), config.error_if, config.fail_calc, config.limit)
        return plain == ("error", "!= 0", "count(*)", None)


@dataclass(frozen=True)
class _Asked:
    """As much of dbt's own result as a failure is described by."""

    node: Any
    message: str
    failures: int


class MappingRefused(TransformFailed, NoGo):
    """A mapping file does not load, or does not pass its tests."""

    code, exit_code = "CRM-212", NoGo.exit_code


class ChecksFailed(TransformFailed, NoGo):
    """What was built does not pass the models' own tests."""

    code, exit_code = "CRM-213", NoGo.exit_code


def build(
    settings: Settings,
    run_id: str,
    select: Selector,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    schema: str = BUILD_SCHEMA,
    moving: bool = False,
    within_run: bool = False,
    gates_ask: bool = False,
) -> TransformResult:
    """Load the mappings, build the selected models and run their data tests, but for those that PostgreSQL answers.

    Within a run only the models are built: dbt takes 50 ms for each test, so `ask` asks them when everything is there.

    The run must have registered the build schema in `crm_migration.builds`: dbt reads its run id there.

    Args:
        settings: connection, folders, mappings.
        run_id: the run this build belongs to, for the messages.
        select: a selector of `dbt_project/selectors.yml`.
        on_progress: told after each batch that was committed.
        schema: where everything is built.
        moving: people work meanwhile, so that two models may have read two states: the tests that compare them
            would fail for no fault of theirs, and are left to a build under the lock.
        within_run: `sources_only` was built for this run, so that its nodes are left out; so are all tests.
        gates_ask: the gates will ask what they and data tests have in common, and a dry run has asked all tests.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    written: dict[str, int] = {}
    rejected: dict[str, int] = {}

    def batch_done(progress: Progress) -> None:
        written[progress.model] = written.get(progress.model, 0) + progress.rows_written
        rejected[progress.model] = rejected.get(progress.model, 0) + progress.rows_rejected
        if on_progress is not None:
            on_progress(progress)

    began = time.monotonic()
    with dbt_process.opened(settings, schema) as dbt:
        left_out.mark(dbt.manifest, moving=moving, within_run=within_run, gates_ask=gates_ask)
        results = dbt.run(
            *("build", "--selector", f"{select}_by_the_program"),
            *("--exclude-resource-type", "unit_test"),
            *(("--exclude-resource-type", "test") if within_run else ()),
            on_progress=batch_done,
        )
    _refuse_failures(results, f"The build of {select} for run {run_id} failed")
    return TransformResult(
        selector=select,
        seconds=time.monotonic() - began,
        seconds_by_model={
            item.node.name: round(float(item.execution_time), 3)
            for item in results
            if str(item.node.resource_type) == "model"
        },
        rows_written=written,
        rows_rejected=rejected,
        tests=sum(str(item.node.resource_type) == "test" for item in results),
    )


def read_project(settings: Settings, *, schema: str = BUILD_SCHEMA) -> None:
    """Have dbt read its project, for the builds of this process.

    Raises:
        TransformFailed: it cannot be read.
    """
    with dbt_process.opened(settings, schema):
        pass


def views(settings: Settings, *, schema: str = BUILD_SCHEMA) -> None:
    """Make the views anew, also those in the middle, on tables that are there.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    run(settings, "run", "--select", "config.materialized:view", schema=schema)


def compile_tests(
    settings: Settings, *, schema: str = BUILD_SCHEMA, moving: bool = False, within_run: bool = False
) -> tuple[DataTest, ...]:
    """The queries of the data tests that a run asks before its gates, for this database; nothing has to be built yet.

    Args:
        moving, within_run: as for `build`; what gates ask is left out in any case.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    with dbt_process.opened(settings, schema) as dbt:
        left_out.mark(dbt.manifest, moving=moving, within_run=within_run, gates_ask=True)
        # of the tests themselves, not of what is beside them
        found = dbt.run(
            *("compile", "--select", "test_type:data", "--exclude", f"tag:{left_out.TAG}"),
            *("--indirect-selection", "empty"),
        )
    return tuple(DataTest(item.node, str(item.node.compiled_code)) for item in found)


def ask(settings: Settings, tests: Sequence[DataTest], *, schema: str = BUILD_SCHEMA) -> int:
    """Ask compiled data tests of what is there, two at a time; returns how many were asked.

    A test that wants more than that no row is found is left to dbt.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    # those that read several tables take longest
    own = sorted((test for test in tests if test.wants_no_row), key=lambda test: -len(test.node.depends_on.nodes))
    found = parallel.run(
        settings,
        [partial(_failing, test) for test in own],
        session={"search_path": f"{schema}, public, extensions", "jit": "off", "work_mem": "64MB"},
        application="crm-migrate data tests",
    )
    failures = [
        _failure(_Asked(test.node, f"Got {rows} result{'s' if rows > 1 else ''}, configured to fail if != 0", rows))
        for test, rows in zip(own, found, strict=True)
        if rows
    ]
    if failures:
        more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
        raise ChecksFailed("A test of the models does not pass.", failures, why=f"{failures[0]}{more}")
    others = [test.node.name for test in tests if not test.wants_no_row]
    if others:
        with dbt_process.opened(settings, schema) as dbt:
            results = dbt.run("test", "--select", *others)
        _refuse_failures(results, "The tests of what was built failed")
    return len(tests)


def _failing(test: DataTest, connection: Connection) -> int:
    return int(
        database.scalar(connection, sql.SQL("select count(*) from (\n{}\n) as failing").format(sql.SQL(test.query)))
    )


def run(settings: Settings, *command: str, schema: str = BUILD_SCHEMA) -> list[str]:
    """Run any dbt command that works on nodes, such as `build --select +opportunities`.

    Returns:
        The names of the nodes it worked on.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    with dbt_process.opened(settings, schema) as dbt:
        results = dbt.run(*command)
    _refuse_failures(results, f"dbt {' '.join(command)} failed")
    return [item.node.name for item in results]


def unit_tests(settings: Settings, *, schema: str = BUILD_SCHEMA) -> int:
    """Run the models' unit tests; their inputs must exist, so the project is built without rows first.

    Returns:
        How many ran.
    """
    with dbt_process.opened(settings, schema) as dbt:
        prepared = dbt.run(
            "build", "--empty", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test"
        )
        _refuse_failures(prepared, "The models cannot be built without rows")
        results = dbt.run("test", "--select", "test_type:unit")
    _refuse_failures(results, "Unit tests of the models failed")
    return len(results)


def _refuse_failures(results: Sequence[Any], what: str) -> None:
    bad = [item for item in results if str(item.status) in {"error", "fail", "runtime error", "partial success"}]
    if not bad:
        skipped = [item.node.name for item in results if str(item.status) == "skipped"]
        if skipped:
            raise TransformFailed(f"{what}: dbt skipped {', '.join(skipped)}.")
        return
    failures = [_failure(item) for item in bad]
    first = failures[0]
    more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
    why = f"{first}{more}"
    for stopped in [dbt_process.stopped_by(failure.message) for failure in failures]:
        if stopped is not None:
            raise stopped(f"{what}.", failures, why=why, next="The same command goes on.")
    if first.kind == "seed" or (first.kind == "test" and first.seeds):
        files = ", ".join(first.seeds) or first.file
        raise MappingRefused(
            f"The mapping file {files} cannot be used.", failures, why=why, next=f"Correct {files}, then try again."
        )
    if all(failure.kind in {"test", "unit_test"} for failure in failures):
        raise ChecksFailed(f"{what}: a test of the models does not pass.", failures, why=why)
    raise TransformFailed(f"{what} in {first.node}.", failures, why=why)


def _failure(item: Any) -> Failure:
    node = item.node
    parents = getattr(getattr(node, "depends_on", None), "nodes", None) or []
    kind = str(node.resource_type)
    seeds = [name.rsplit(".", 1)[-1] + ".csv" for name in parents if name.startswith("seed.")]
    # a test that compares a mapping with what was built is not the mapping's own
    only_seeds = kind == "test" and len(seeds) == len(parents)
    return Failure(
        node=node.name,
        kind=kind,
        message=dbt_process.readable(str(item.message or f"{item.failures} rows fail")),
        file=str(getattr(node, "original_file_path", "")),
        seeds=tuple(seeds) if only_seeds else (),
    )
