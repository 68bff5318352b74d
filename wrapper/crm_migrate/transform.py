"""The transformation: the models of `dbt_project`, built by dbt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from crm_migrate import dbt_process, failed_nodes, left_out
from crm_migrate.dbt_process import (
    BUILD_SCHEMA,
    THREADS,
    Failure,
    NothingSelected,
    Progress,
    TransformFailed,
    TransformStopped,
)
from crm_migrate.settings import Settings

__all__ = [
    "BUILD_SCHEMA",
    "THREADS",
    "Failure",
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


def build(
    settings: Settings,
    run_id: str,
    select: Selector,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    schema: str = BUILD_SCHEMA,
    within_run: bool = False,
) -> TransformResult:
    """Load the mappings, build the selected models and run their data tests, but for those that PostgreSQL answers.

    Within a run only the models are built, and those of `sources_only` once; `data_tests` asks the tests.

    The run must have registered the build schema in `crm_migration.builds`: dbt reads its run id there.

    Args:
        settings: connection, folders, mappings.
        run_id: the run this build belongs to, for the messages.
        select: a selector of `dbt_project/selectors.yml`.
        on_progress: told after each batch that was committed.
        schema: where everything is built.
        within_run: a run builds `sources_only` first, the stages after it, and asks the tests itself.

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
        left_out.mark(dbt.manifest, within_run=within_run and select != "sources_only")
        results = dbt.run(
            *("build", "--selector", f"{select}_by_the_program"),
            *("--exclude-resource-type", "unit_test"),
            *(("--exclude-resource-type", "test") if within_run else ()),
            on_progress=batch_done,
        )
    failed_nodes.refuse(results, f"The build of {select} for run {run_id} failed")
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


def run(settings: Settings, *command: str, schema: str = BUILD_SCHEMA) -> list[str]:
    """Run any dbt command that works on nodes, such as `build --select +opportunities`.

    Returns:
        The names of the nodes it worked on.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    with dbt_process.opened(settings, schema) as dbt:
        results = dbt.run(*command)
    failed_nodes.refuse(results, f"dbt {' '.join(command)} failed")
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
        failed_nodes.refuse(prepared, "The models cannot be built without rows")
        results = dbt.run("test", "--select", "test_type:unit")
    failed_nodes.refuse(results, "Unit tests of the models failed")
    return len(results)
