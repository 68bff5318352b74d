"""dbt itself, in this process: told where everything is, with its project parsed once and the manifest reused.

dbt takes seconds to import, so it is imported when it is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import pq, sql

from crm_migrate import build_order, database, fault_points, paths
from crm_migrate.errors import MigrationError, Passing, Stopped
from crm_migrate.settings import Settings

BUILD_SCHEMA = "crm_build"
THREADS = 2
STATE = "No legacy row was touched. The batches that the ledger calls done stay."

# what the server or the network says when the models are not at fault: the same command goes on later
_STOPPING = re.compile(r"No space left on device|could not (extend|write)|lock timeout", re.IGNORECASE)
# what goes away when the same is done again
_PASSING = re.compile(r"deadlock detected|could not serialize", re.IGNORECASE)
# how the materialization begins what it says when it has written to the ledger
_LEDGER_EVENT = "load "
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


class TransformInterrupted(TransformStopped, Passing):
    """The build lost its connection, or met a deadlock: the same goes on at once."""

    code, exit_code = "CRM-216", Passing.exit_code


class NothingSelected(TransformFailed):
    """The selection matched no model: dbt calls that a success."""

    code = "CRM-214"


# One dbt at a time: it keeps its adapter, its flags and its log in globals, and reads the environment.
_lock = threading.Lock()
_manifests: dict[str, Any] = {}


@contextmanager
def opened(settings: Settings, schema: str) -> Iterator[Dbt]:
    """dbt for this database and this build schema, with its project read; one at a time."""
    with _lock, _environment(_libpq_environment(settings) | _own_environment(schema, settings.seeds_dir)):
        variables = {
            "fallback_stage": settings.fallback_stage,
            "default_commission_percent": settings.default_commission_percent,
        }
        key = _fingerprint(settings.seeds_dir, variables)
        dbt = Dbt(settings.work_dir / "dbt", variables, _manifests.get(key))
        if dbt.manifest is None:
            _manifests[key] = dbt.manifest = dbt.parse()
        _settle(dbt.manifest, os.environ["PGDATABASE"], schema, settings.seeds_dir)
        yield dbt


def _settle(manifest: Any, database_name: str, schema: str, seeds: Path) -> None:
    """Database, schema and where the mappings lie are part of a manifest: make them those of this build."""
    for node in manifest.nodes.values():
        node.schema = schema
        if str(node.resource_type) == "seed":
            node.original_file_path = str(seeds.absolute() / node.path)
    for node in [*manifest.nodes.values(), *manifest.sources.values()]:
        node.database = database_name
        if node.relation_name:
            name = getattr(node, "alias", None) or node.identifier
            node.relation_name = sql.Identifier(database_name, node.schema, name).as_string(None)


def _quote_names() -> None:
    """dbt puts names between quotes as they are: a database whose name holds a quote would end there."""
    from dbt.adapters.base.relation import BaseRelation
    from dbt.adapters.postgres.impl import PostgresAdapter

    def quoted(self: Any, identifier: str) -> str:
        return sql.Identifier(identifier).as_string(None)

    def verify_database(self: Any, name: str) -> str:
        # every relation is in the database of the connection; macros want an empty text
        return ""

    BaseRelation.quoted = quoted
    PostgresAdapter.quote = classmethod(quoted)
    PostgresAdapter.verify_database = verify_database


class Dbt:
    """dbt's runner, told where everything is."""

    def __init__(self, folder: Path, variables: Mapping[str, Any], manifest: Any) -> None:
        self.target = folder / "target"
        self.logs = folder / "logs"
        self.variables = variables
        self.manifest = manifest

    def parse(self) -> Any:
        """The manifest."""
        return self.invoke("parse")

    def run(self, *command: str, on_progress: Callable[[Progress], None] | None = None) -> Sequence[Any]:
        """The results of a command, which must have worked on something."""
        outcome = self.invoke(*command, on_progress=on_progress)
        results: Sequence[Any] = getattr(outcome, "results", None) or []
        if all(str(item.node.resource_type) == "operation" for item in results):
            raise NothingSelected(f"dbt {' '.join(command)} matched nothing.", next="Check dbt_project/selectors.yml.")
        return results

    def invoke(self, *command: str, on_progress: Callable[[Progress], None] | None = None) -> Any:
        """What dbt returns; what it raised is raised here."""
        from dbt.cli.main import dbtRunner

        from crm_migrate import seed_rows

        _quote_names()
        seed_rows.install()
        build_order.install(int(os.environ["CRM_MIGRATE_DBT_THREADS"]))
        interrupted: list[BaseException] = []

        def listen(event: Any) -> None:
            if event.info.name != "JinjaLogInfo":
                return
            if event.info.msg.startswith(_LEDGER_EVENT):
                fault_points.reached(event.info.msg)
            if on_progress is None:
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

        self.target.mkdir(parents=True, exist_ok=True, mode=0o700)
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


def stopped_by(message: str) -> type[TransformStopped] | None:
    """The error when the server, the disk or the network is at fault; None when the models are."""
    if database.LOST.search(message) or _PASSING.search(message):
        return TransformInterrupted
    return TransformStopped if _STOPPING.search(message) else None


def _progress(message: str) -> Progress | None:
    _, found, document = message.partition("batch {")
    if not found:
        return None
    values = json.loads("{" + document)
    return Progress(**{name: values[name] for name in Progress.__dataclass_fields__})


def readable(message: str) -> str:
    """The lines that say something: without dbt's pointer to its compiled file and without the SQL."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("compiled code at", "LINE ", "^", "QUERY:"))]
    return " ".join(kept[:4])[:600]


def _failed(what: str, message: str) -> TransformFailed:
    why = readable(message)
    if stopped := stopped_by(message):
        return stopped(f"{what}.", why=why, next="The same command goes on.")
    return TransformFailed(f"{what}.", why=why)


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
            # each model that is still to come tries to connect, also when the network has gone
            "PGCONNECT_TIMEOUT": str(settings.connect_timeout),
        }


def _own_environment(schema: str, seeds: Path = paths.SEEDS) -> dict[str, str]:
    return {
        "CRM_MIGRATE_BUILD_SCHEMA": schema,
        "CRM_MIGRATE_SEEDS_DIR": str(seeds),
        "CRM_MIGRATE_DBT_THREADS": os.environ.get("CRM_MIGRATE_DBT_THREADS", str(THREADS)),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        # its account of each command takes a second to write, and the ledger has what counts
        "DBT_WRITE_JSON": os.environ.get("DBT_WRITE_JSON", "false"),
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


def _fingerprint(seeds: Path, variables: Mapping[str, Any]) -> str:
    """Of what a manifest is made of: of the mappings, their names, since they are read when they are loaded."""
    digest = hashlib.sha256(json.dumps(variables).encode())
    for folder in (paths.DBT_PROJECT, seeds):
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            if path.suffix not in {".sql", ".yml", ".md", ".csv"} or place.parts[0] == "target":
                continue
            changed = "" if path.suffix == ".csv" else path.stat().st_mtime_ns
            digest.update(f"{folder if changed else ''}\0{place}\0{changed}\0".encode())
    return digest.hexdigest()
