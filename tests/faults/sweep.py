"""Killing the program at every place: which places there are, and what the end has to be.

The places are those that an uninterrupted run passes, written down by the program itself; a new one is covered without
anybody naming it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import access, content, control, demo_data, fault_points, fingerprint, paths
from crm_migrate import database as db
from crm_migrate.errors import Exit
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from fault_table import FILE
from running import program
from support import fresh_database

Connection = psycopg.Connection[Any]

CONTACTS = 60
SEED = 20261125
# a small CRM is messy with every messy row, and has several batches of a few rows
ENVIRONMENT = {
    "CRM_MIGRATE_THRESHOLD_PERCENT": "60",
    "CRM_MIGRATE_BATCH_SIZE": "30",
    "CRM_MIGRATE_SAMPLE_SIZE": "20",
    # nobody else works on these databases, and the machine may be busy
    "CRM_MIGRATE_REHEARSAL_MAX_SECONDS": "60",
}
TIMEOUT = 600


@dataclass(frozen=True)
class Scenario:
    """A command that is killed: how the database gets there, and what it is called with."""

    name: str
    # each command of the way is run to its end, or to the place where it is killed
    way: Sequence[tuple[tuple[str, ...], str | None]]
    command: tuple[str, ...]
    fault: int = 1
    # SQL of what happens to the database in between
    meanwhile: str = ""
    # places from which on a run is killed for the second time: it goes on from there, so that each case stays short
    crashes: Sequence[str] = ()


# what people do after the migration: edits, a new row and a deletion, through new and old names
WORK_OF_PEOPLE = """
update public.opportunities set name = name || ' (changed)' where id in
    (select id from public.opportunities order by id limit 2);
update public.deals set amount = amount + 7 where id =
    (select id from public.deals order by id offset 3 limit 1);
insert into public.deals (name, company_id, contact_ids, stage, amount, sales_id)
    select 'made after the migration', company_id, contact_ids, stage, 5, sales_id
    from public.deals where company_id is not null order by id limit 1;
delete from public.deals where id = (select max(id) - 3 from public.deals);
update public.contacts set title = 'changed' where id = (select min(id) from public.contacts)
"""

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "apply",
            [(("dry-run",), None)],
            ("apply",),
            crashes=(
                "apply.transform_stage_1.started",
                "apply.prepare.started",
                "apply.cutover.started",
                "apply.validate.started",
            ),
        ),
        Scenario(
            "rollback", [(("dry-run",), None), (("apply",), None)], ("rollback",), fault=23, meanwhile=WORK_OF_PEOPLE
        ),
        Scenario(
            "discard",
            [(("dry-run",), None), (("apply",), None)],
            ("rollback", "--discard-changes"),
            fault=23,
            meanwhile=WORK_OF_PEOPLE,
        ),
        Scenario("unlock", [(("dry-run",), None), (("apply",), "apply.gates.done")], ("unlock",), fault=23),
        Scenario(
            "accept",
            [(("dry-run",), None), (("apply",), "apply.validate.done")],
            ("unlock", "--accept-failed-verification", "--reason", "looked at"),
            fault=23,
        ),
        Scenario("lock", [(("dry-run",), None)], ("lock",)),
        Scenario(
            "purge",
            [(("dry-run",), None), (("apply",), None)],
            ("archive", "purge"),
            fault=23,
            meanwhile="update crm_migration.runs set archive_until = clock_timestamp() - interval '1 hour'",
        ),
    )
}


@dataclass(frozen=True)
class Uninterrupted:
    """A scenario without a fault: the places it passes in their order, and where it ends."""

    points: Sequence[str]
    end: Mapping[str, Any] = field(repr=False)


class Sweep:
    """The scenarios on one server. Templates and uninterrupted runs are made when they are first asked for."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.seeds = folder / "seeds"
        self._templates: dict[tuple[Any, ...], str] = {}
        self._uninterrupted: dict[str, Uninterrupted] = {}
        self._parsed: Path | None = None

    def settings(self, database: str, folder: Path) -> Settings:
        """Settings for a database; what the program writes goes below `folder`."""
        return Settings(
            dsn=self.server.dsn(database),
            work_dir=folder,
            backup_dir=folder / "backups",
            log_file=folder / "run.log",
            seeds_dir=self.seeds,
            batch_size=int(ENVIRONMENT["CRM_MIGRATE_BATCH_SIZE"]),
            threshold_percent=float(ENVIRONMENT["CRM_MIGRATE_THRESHOLD_PERCENT"]),
            sample_size=int(ENVIRONMENT["CRM_MIGRATE_SAMPLE_SIZE"]),
            rehearsal_max_seconds=float(ENVIRONMENT["CRM_MIGRATE_REHEARSAL_MAX_SECONDS"]),
        )

    def uninterrupted(self, name: str) -> Uninterrupted:
        """The places and the end of a scenario."""
        if name not in self._uninterrupted:
            folder = self.folder / f"uninterrupted-{name}"
            trace = folder / "trace"
            with self.begun(name, folder) as (connection, settings):
                done = run(settings, SCENARIOS[name].command, **{fault_points.TRACE: str(trace)})
                assert done.exit_code == 0, done.said
                points = trace.read_text(encoding="utf-8").splitlines()
                self._uninterrupted[name] = Uninterrupted(points, end_state(connection, settings))
                if name == "apply":
                    self._parsed = folder / "dbt"
        return self._uninterrupted[name]

    @contextmanager
    def begun(self, name: str, folder: Path, *, before: str | None = None) -> Iterator[tuple[Connection, Settings]]:
        """A database of its own in which the command of the scenario can start.

        Args:
            before: the place that is to come; the run is as far as its last crash before it.
        """
        scenario = SCENARIOS[name]
        way = [*scenario.way]
        if before is not None:
            passed = self.uninterrupted(name).points
            crashes = [place for place in scenario.crashes if passed.index(place) < passed.index(before)]
            way += [(scenario.command, place) for place in crashes]
        template = self._template(way, scenario.meanwhile)
        folder.mkdir(parents=True, exist_ok=True)
        if self._parsed is not None:
            shutil.copytree(self._parsed, folder / "dbt", dirs_exist_ok=True)
        # always one name: dbt reads its project anew for another database
        with fresh_database(self.server, template=template, name="swept") as connection:
            # an archive belongs to the database in which it was made, and a copy is another one
            if db.exists(connection, "crm_migration.archives"):
                connection.execute(
                    "update crm_migration.archives set database_name = datname, database_oid = oid"
                    " from pg_catalog.pg_database where datname = current_database()"
                )
            if any(place is not None for _, place in way):
                # roles are the server's: what the killed run had shut is open again
                connection.execute("alter role authenticator nologin")
            yield connection, self.settings(connection.info.dbname, folder)

    def _template(self, way: Sequence[tuple[tuple[str, ...], str | None]], meanwhile: str) -> str:
        key = (tuple(way), meanwhile)
        if key in self._templates:
            return self._templates[key]
        name = f"sweep_{len(self._templates)}"
        self._templates[key] = name  # numbers go on in the order in which they are asked for
        if not way:
            self._make_legacy(name)
            return name
        *before, (command, place) = way
        origin = self._template(before, "")
        with fresh_database(self.server, template=origin) as connection:
            settings = self.settings(connection.info.dbname, self.folder / name)
            done = run(settings, command, **({} if place is None else {fault_points.KILL_AT: place}))
            assert done.exit_code == (0 if place is None else -signal.SIGKILL), done.said
            connection.execute(sql.SQL(meanwhile))
            own = connection.info.dbname
            connection.close()
            with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
                admin.execute(
                    sql.SQL("alter database {} rename to {}").format(sql.Identifier(own), sql.Identifier(name))
                )
        return name

    def _make_legacy(self, name: str) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        with db.connect(self.settings(name, self.folder)) as connection:
            demo_data.create_schema(connection, "2026")
            demo_data.load(connection, "2026", contacts=CONTACTS)
            control.install(connection, self.settings(name, self.folder))
            connection.execute("vacuum analyze")
            if not self.seeds.exists():
                demo_data.demo_seeds(connection, self.seeds)


@dataclass(frozen=True)
class Ended:
    """How a process of the program ended, and what it said."""

    exit_code: int
    said: str


def run(settings: Settings, command: Sequence[str], **environ: str) -> Ended:
    """One process of the program, from its start to its end."""
    confirmed = command if command[0] == "dry-run" else (*command, "--confirm-database", database_of(settings))
    process = program(settings, *confirmed, **ENVIRONMENT, **environ)
    out, said = process.communicate(timeout=TIMEOUT)
    return Ended(process.returncode, out + said)


def database_of(settings: Settings) -> str:
    """The name of the database of the settings."""
    return str(settings.conninfo["dbname"])


def end_state(connection: Connection, settings: Settings) -> dict[str, Any]:
    """Everything that has to be the same at the end, by content: no times, no ids of runs, no names of folders."""

    def all_of(query: str) -> list[Any]:
        return [list(row) for row in connection.execute(sql.SQL(query)).fetchall()]

    taken = fingerprint.take(connection)
    return {
        "crm": taken.as_json(),
        "access": access.capture(connection).as_json(),
        "archive": {
            name: table.as_dict() for name, table in content.read(connection, ["crm_archive", "crm_build"]).items()
        },
        "schemas": all_of("select nspname from pg_catalog.pg_namespace where nspname !~ '^pg_' order by 1"),
        "lock": all_of("select phase from crm_migration.lock"),
        "roles": all_of("select rolname, rolcanlogin, rolconnlimit from pg_catalog.pg_roles order by 1"),
        "runs": all_of(
            "select kind, state, verdict, cutover_at is not null, error from crm_migration.runs order by started_at"
        ),
        "steps": all_of(
            "select runs.kind, steps.name, steps.state, steps.rows, steps.error from crm_migration.steps"
            " inner join crm_migration.runs using (run_id) order by runs.started_at, position"
        ),
        "batches": all_of(
            "select runs.kind, model, batch_no, key_lo, key_hi, batches.state, rows_written, rows_rejected"
            " from crm_migration.batches inner join crm_migration.runs using (run_id) order by 1, 2, 3"
        ),
        "loads": all_of(
            "select runs.kind, model, model_loads.finished_at is not null from crm_migration.model_loads"
            " inner join crm_migration.runs using (run_id) order by 1, 2"
        ),
        "rejected": all_of(
            "select runs.kind, model, key_value, sqlstate, source_row from crm_migration.rejected_records"
            " inner join crm_migration.runs using (run_id) order by 1, 2, 3"
        ),
        "excluded": all_of(
            "select runs.kind, entity, row_key, rule from crm_migration.excluded_rows"
            " inner join crm_migration.runs using (run_id) order by 1, 2, 3"
        ),
        "findings": all_of(
            "select runs.kind, gate, code, entity, severity, rows from crm_migration.findings"
            " inner join crm_migration.runs using (run_id) order by 1, 2, 3, 4"
        ),
        "history": all_of("select phase, name, rows from crm_migration.migration_history order by 1"),
        "saved": all_of(
            "select kind, identity, definition from crm_migration.saved_objects"
            " where kind <> 'rolled back' order by 1, 2, 3"
        ),
        "changes": all_of("select table_name, key, operation from crm_migration.changes order by 1, 2, 3"),
        "builds": all_of("select schema_name from crm_migration.builds order by 1"),
        "scratch": all_of("select datname from pg_catalog.pg_database where starts_with(datname, 'crm_') order by 1"),
        "exports": _exports(settings.work_dir / "exports"),
        "half backups": sorted(
            folder.name for folder in _folders(settings.backup_dir) if not (folder / "manifest.json").exists()
        ),
    }


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.exists() else []


def _exports(folder: Path) -> list[list[str]]:
    if not folder.exists():
        return []
    return [sorted(file.read_text(encoding="utf-8").splitlines()) for file in sorted(folder.iterdir())]


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where two documents differ, as `path: expected is not found`."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = [*expected, *(key for key in found if key not in expected)]
        return [
            line
            for key in keys
            for line in differences(expected.get(key), found.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(expected, list) and isinstance(found, list) and expected != found:
        missing, more = (
            [item for item in one if item not in other] for one, other in ((expected, found), (found, expected))
        )
        return [f"{path}: {missing!r} is not there, {more!r} is too much"[:1500]]
    return [] if expected == found else [f"{path}: {expected!r} is not {found!r}"[:600]]


def is_refusal_of_what_is_done(ended: Ended) -> bool:
    """The command says that there is nothing left to do for it."""
    return ended.exit_code == Exit.WRONG_STATE


def sample(name: str, points: Sequence[str], number: int) -> list[str]:
    """So many places of a scenario, spread over it, always the same while the program passes the same ones."""
    chance = random.Random(f"{SEED}-{name}")
    size = len(points) / number
    return [points[int((chance.random() + index) * size)] for index in range(number)]


def every_point(name: str) -> list[str]:
    """The places of a scenario, for parameters: traced once for this state of the program, then read from a file."""
    FILE.parent.mkdir(exist_ok=True)
    known = FILE.parent / "points.json"
    with (FILE.parent / "points.lock").open("w") as waiting:
        # the workers of a test run must collect the same cases: one traces, the others wait for it
        fcntl.flock(waiting, fcntl.LOCK_EX)
        found = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
        if found.get("program") != _program():
            found = {"program": _program(), **_trace_all()}
            known.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return list(found[name])


def _trace_all() -> dict[str, list[str]]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="crm-faults-") as folder, EmbeddedServer(tcp=True) as server:
        sweep = Sweep(server, Path(folder))
        return {name: list(sweep.uninterrupted(name).points) for name in SCENARIOS}


def _program() -> str:
    total = hashlib.sha256(Path(__file__).read_bytes())
    for root in ("wrapper/crm_migrate", "dbt_project/models", "dbt_project/macros", "sql", "soda"):
        for path in sorted((paths.PROJECT / root).rglob("*")):
            if path.is_file() and path.suffix in {".py", ".sql", ".yml"}:
                total.update(str(path).encode() + path.read_bytes())
    return total.hexdigest()
