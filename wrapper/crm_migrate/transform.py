"""The transformation: dbt, in this process, on the models of `dbt_project`.

dbt takes seconds to import, so it is imported when it is needed; the project is parsed once and its manifest reused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psycopg import pq

from crm_migrate import database, fault_points, paths
from crm_migrate.errors import MigrationError, NoGo, Stopped
from crm_migrate.settings import Settings

Selector = Literal["sources_only", "stage_1", "stage_1_5"]

BUILD_SCHEMA = "crm_build"
THREADS = 2
STATE = "No legacy row was touched. The batches that the ledger calls done stay."

# what the server or the network says when the models are not at fault: the same command goes on later
_PASSING = re.compile(
    r"server closed the connection|terminating connection|could not connect|connection .*(refused|failed|timed out)"
    r"|SSL (connection|SYSCALL)|connection already closed|the database system is"
    r"|No space left on device|could not (extend|write)|deadlock detected|lock timeout|could not serialize",
    re.IGNORECASE,
)
# libpq's own words for what dbt sets itself, or what psycopg has already resolved
_NOT_HANDED_ON = frozenset({"host", "port", "user", "password", "dbname", "application_name", "options", "service"})


@dataclass(frozen=True)
class Progress:
    """One batch was committed."""

    model: str
    batch_no: int
    done: int
    total: int
    rows_written: int
    rows_rejected: int
    ms: float


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
class Failure:
    """A node of the project that did not end well."""

    node: str
    kind: str
    message: str
    file: str
    seeds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.node} ({self.file}): {self.message}"


class TransformFailed(MigrationError):
    """A model cannot be built, or the project cannot be read."""

    code = "CRM-210"

    def __init__(self, what: str, failures: Sequence[Failure] = (), *, why: str = "", next: str = "") -> None:
        super().__init__(what, why=why, state=STATE, next=next or "crm-migrate status; then the same command goes on")
        self.failures = tuple(failures)


class TransformStopped(TransformFailed, Stopped):
    """The server, the disk or the network stopped the build; nothing is wrong with the models."""

    code, exit_code = "CRM-211", Stopped.exit_code


class MappingRefused(TransformFailed, NoGo):
    """A mapping file does not load, or does not pass its tests."""

    code, exit_code = "CRM-212", NoGo.exit_code


class ChecksFailed(TransformFailed, NoGo):
    """What was built does not pass the models' own tests."""

    code, exit_code = "CRM-213", NoGo.exit_code


class NothingSelected(TransformFailed):
    """The selection matched no model: dbt calls that a success."""

    code = "CRM-214"


def build(
    settings: Settings,
    run_id: str,
    select: Selector,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    schema: str = BUILD_SCHEMA,
) -> TransformResult:
    """Load the mappings, build the selected models and run their data tests.

    The run must have registered the build schema in `crm_migration.builds`: dbt reads its run id there.

    Args:
        settings: connection, folders, mappings.
        run_id: the run this build belongs to, for the messages.
        select: a selector of `dbt_project/selectors.yml`.
        on_progress: told after each batch that was committed.
        schema: where everything is built.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    written: dict[str, int] = {}
    rejected: dict[str, int] = {}

    def batch_done(progress: Progress) -> None:
        written[progress.model] = written.get(progress.model, 0) + progress.rows_written
        rejected[progress.model] = rejected.get(progress.model, 0) + progress.rows_rejected
        fault_points.reached(f"batch:{progress.model}:{progress.batch_no}")
        if on_progress is not None:
            on_progress(progress)

    began = time.monotonic()
    with _dbt(settings, schema) as dbt:
        results = dbt.run("build", "--selector", select, "--exclude-resource-type", "unit_test", on_progress=batch_done)
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


def run(settings: Settings, *command: str, schema: str = BUILD_SCHEMA) -> list[str]:
    """Run any dbt command that works on nodes, such as `build --select +opportunities`.

    Returns:
        The names of the nodes it worked on.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    with _dbt(settings, schema) as dbt:
        results = dbt.run(*command)
    _refuse_failures(results, f"dbt {' '.join(command)} failed")
    return [item.node.name for item in results]


def unit_tests(settings: Settings, *, schema: str = BUILD_SCHEMA) -> int:
    """Run the models' unit tests; their inputs must exist, so the project is built without rows first.

    Returns:
        How many ran.
    """
    with _dbt(settings, schema) as dbt:
        prepared = dbt.run(
            "build", "--empty", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test"
        )
        _refuse_failures(prepared, "The models cannot be built without rows")
        results = dbt.run("test", "--select", "test_type:unit")
    _refuse_failures(results, "Unit tests of the models failed")
    return len(results)


def docs(settings: Settings, target: Path, *, schema: str = BUILD_SCHEMA) -> Path:
    """Write the documentation of the models, with their lineage, as one static file."""
    with _dbt(settings, schema) as dbt:
        dbt.invoke("docs", "generate", "--static")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dbt.target / "static_index.html", target)
    return target


def parse() -> int:
    """Read the whole project without a database, as `make check` does.

    Returns:
        How many nodes there are.
    """
    with (
        tempfile.TemporaryDirectory(prefix="crm-migrate-") as folder,
        _lock,
        _environment(_own_environment(BUILD_SCHEMA)),
    ):
        manifest = _Dbt(Path(folder), {}, None).parse()
        return len(manifest.nodes)


# One dbt at a time: it keeps its adapter, its flags and its log in globals, and reads the environment.
_lock = threading.Lock()
_manifests: dict[str, Any] = {}


@contextmanager
def _dbt(settings: Settings, schema: str) -> Iterator[_Dbt]:
    with _lock, _environment(_libpq_environment(settings) | _own_environment(schema, settings.seeds_dir)):
        variables = {
            "fallback_stage": settings.fallback_stage,
            "default_commission_percent": settings.default_commission_percent,
        }
        key = _fingerprint(settings.seeds_dir, json.dumps(variables))
        dbt = _Dbt(settings.work_dir / "dbt", variables, _manifests.get(key))
        if dbt.manifest is None:
            _manifests[key] = dbt.manifest = dbt.parse()
        _settle(dbt.manifest, os.environ["PGDATABASE"], schema)
        yield dbt


def _settle(manifest: Any, database_name: str, schema: str) -> None:
    """Names of database and schema are part of a manifest: make them those of this build."""
    for node in manifest.nodes.values():
        node.schema = schema
    for node in [*manifest.nodes.values(), *manifest.sources.values()]:
        node.database = database_name
        if node.relation_name:
            name = getattr(node, "alias", None) or node.identifier
            node.relation_name = f'"{database_name}"."{node.schema}"."{name}"'


class _Dbt:
    """dbt's runner, told where everything is."""

    def __init__(self, folder: Path, variables: Mapping[str, Any], manifest: Any) -> None:
        self.target = folder / "target"
        self.logs = folder / "logs"
        self.variables = variables
        self.manifest = manifest

    def parse(self) -> Any:
        return self.invoke("parse")

    def run(self, *command: str, on_progress: Callable[[Progress], None] | None = None) -> Sequence[Any]:
        """The results of a command, which must have worked on something."""
        outcome = self.invoke(*command, on_progress=on_progress)
        results: Sequence[Any] = getattr(outcome, "results", None) or []
        if all(str(item.node.resource_type) == "operation" for item in results):
            raise NothingSelected(f"dbt {' '.join(command)} matched nothing.", next="Check dbt_project/selectors.yml.")
        return results

    def invoke(self, *command: str, on_progress: Callable[[Progress], None] | None = None) -> Any:
        from dbt.cli.main import dbtRunner

        interrupted: list[BaseException] = []

        def listen(event: Any) -> None:
            if on_progress is None or event.info.name != "JinjaLogInfo":
                return
            progress = _progress(event.info.msg)
            if progress is None:
                return
            if not interrupted:
                try:
                    on_progress(progress)
                except BaseException as error:
                    interrupted.append(error)
            if interrupted:
                # dbt makes a failed model of it, and waits for ever for a thread that an interrupt ended
                raise RuntimeError("stopped by whoever watches")

        self.target.mkdir(parents=True, exist_ok=True)
        arguments = [
            *command,
            *("--project-dir", str(paths.DBT_PROJECT)),
            *("--profiles-dir", str(paths.DBT_PROJECT)),
            *("--target-path", str(self.target)),
            *("--log-path", str(self.logs)),
            *("--log-level", "none", "--no-use-colors", "--no-version-check"),
            *("--vars", json.dumps(self.variables)),
        ]
        outcome = dbtRunner(manifest=self.manifest, callbacks=[listen]).invoke(arguments)
        if interrupted:
            raise interrupted[0]
        if isinstance(outcome.exception, KeyboardInterrupt):
            raise outcome.exception
        if outcome.exception is not None:
            raise _failed(f"dbt {command[0]} failed", str(outcome.exception))
        return outcome.result


def _progress(message: str) -> Progress | None:
    _, found, document = message.partition("batch {")
    if not found:
        return None
    values = json.loads("{" + document)
    return Progress(**{name: values[name] for name in Progress.__dataclass_fields__})


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
    if any(_PASSING.search(failure.message) for failure in failures):
        raise TransformStopped(f"{what}.", failures, why=why, next="The same command goes on.")
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
        message=_readable(str(item.message or f"{item.failures} rows fail")),
        file=str(getattr(node, "original_file_path", "")),
        seeds=tuple(seeds) if only_seeds else (),
    )


def _readable(message: str) -> str:
    """The lines that say something: without dbt's pointer to its compiled file and without the SQL."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("compiled code at", "LINE ", "^", "QUERY:"))]
    return " ".join(kept[:4])[:600]


def _failed(what: str, message: str) -> TransformFailed:
    readable = _readable(message)
    if _PASSING.search(message):
        return TransformStopped(f"{what}.", why=readable, next="The same command goes on.")
    return TransformFailed(f"{what}.", why=readable)


def _libpq_environment(settings: Settings) -> dict[str, str]:
    """The connection as libpq's variables, asked of a live one: service and password files are then resolved."""
    names = {item.keyword.decode(): item.envvar.decode() for item in pq.Conninfo.get_defaults() if item.envvar}
    with database.connect(settings, application="crm-migrate dbt") as connection:
        info = connection.info
        values = {
            names[keyword]: value
            for keyword, value in info.get_parameters().items()
            if keyword in names and keyword not in _NOT_HANDED_ON
        }
        return values | {
            "PGHOST": info.host,
            "PGPORT": str(info.port),
            "PGUSER": info.user,
            "PGPASSWORD": info.password,
            "PGDATABASE": info.dbname,
        }


def _own_environment(schema: str, seeds: Path = paths.SEEDS) -> dict[str, str]:
    return {
        "CRM_MIGRATE_BUILD_SCHEMA": schema,
        "CRM_MIGRATE_SEEDS_DIR": str(seeds),
        "CRM_MIGRATE_DBT_THREADS": os.environ.get("CRM_MIGRATE_DBT_THREADS", str(THREADS)),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _fingerprint(seeds: Path, *names: str) -> str:
    digest = hashlib.sha256("\0".join([str(seeds), *names]).encode())
    for folder in (paths.DBT_PROJECT, seeds):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".sql", ".yml", ".md", ".csv"} and path.relative_to(folder).parts[0] != "target":
                digest.update(f"{path}\0{path.stat().st_mtime_ns}\0".encode())
    return digest.hexdigest()
