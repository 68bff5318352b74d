"""Installations with additions of their own: built and ready for the cutover, to be copied by each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import access, archive, control, cutover, database, demo_data, legacy, lock, rollback, transform
from crm_migrate.cutover import CutoverResult
from crm_migrate.rollback import RollbackResult
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from support import fresh_database

Connection = psycopg.Connection[Any]

RUN = "run-1"
OWN_OBJECTS = Path(__file__).parent / "data" / "own_installation.sql"
# by server, generation and kind: every test module that uses the fixture has an instance of it
_MADE: dict[tuple[int, str, bool], str] = {}
DECISIONS = {"deal_won": "carry", "deal_quiet": "drop"}


@dataclass
class Installation:
    """A database whose new tables are built, and what the program does with it."""

    connection: Connection
    settings: Settings
    generation: str
    exports: Path
    run_id: str = RUN
    notes: str = field(init=False)

    def __post_init__(self) -> None:
        self.notes = "dealNotes" if self.generation == "2025" else "deal_notes"

    def execute(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run a statement; its rows, if it has any. `NOTES` stands for the deal notes of the generation."""
        cursor = self.connection.execute(query.replace("NOTES", f'public."{self.notes}"'), params or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *params: Any) -> Any:
        """The one value of a query."""
        ((found,),) = self.execute(query, *params)
        return found

    def rehearse(self) -> CutoverResult:
        """The cutover without its consequences."""
        found = legacy.detect(self.connection)
        return cutover.execute(
            self.connection, self.settings, self.run_id, found, access.capture(self.connection), rehearse=True
        )

    def cut_over(self) -> CutoverResult:
        """Lock, archive, cutover, validation, unlock."""
        found = legacy.detect(self.connection)
        locked = lock.acquire(self.connection, self.settings, run_id=self.run_id)
        archive.copy(self.connection, found, self.settings)
        result = cutover.execute(self.connection, self.settings, self.run_id, found, locked)
        cutover.validate(self.connection, self.settings)
        control.end_build(self.connection)
        lock.release(self.connection, self.settings)
        return result

    def roll_back(self, *, keep_changes: bool) -> RollbackResult:
        """Lock, rollback, proof, unlock."""
        lock.acquire(self.connection, self.settings, run_id="run-2")
        result = rollback.execute(
            self.connection, self.settings, self.run_id, keep_changes=keep_changes, export_dir=self.exports
        )
        differences = rollback.prove(self.connection, self.settings, self.run_id, keep_changes=keep_changes)
        assert differences == []
        lock.release(self.connection, self.settings)
        return result


def build(connection: Connection, settings: Settings, run_id: str = RUN) -> None:
    """Build and prepare the new tables."""
    control.install(connection, settings)
    control.begin_build(connection, run_id, settings.batch_size)
    for selector in ("sources_only", "stage_1", "stage_1_5"):
        transform.build(settings, run_id, selector)
    for folder in ("prepare/stage_1", "prepare/stage_1_5"):
        database.run_sql_folder(connection, folder)


def make_built(server: EmbeddedServer, legacy_template: str, generation: str, folder: Path, *, own: bool) -> str:
    """A template: demo data, the installation's own objects when wanted, the new tables built."""
    name = f"built_{generation}_{'own' if own else 'stock'}"
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(legacy_template))
        )
    settings = Settings(
        dsn=server.dsn(name), work_dir=folder, seeds_dir=folder / "seeds", log_file=folder / "log", batch_size=60
    )
    with database.connect(settings) as connection:
        if own:
            connection.execute(OWN_OBJECTS.read_text(encoding="utf-8"))
        demo_data.demo_seeds(connection, settings.seeds_dir)
        build(connection, settings)
    return name


@pytest.fixture(scope="session")
def built_templates(
    request: pytest.FixtureRequest, postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """`built_templates(generation, own=True)`: the name of a template, made when it is first asked for."""

    def get(generation: str, *, own: bool = True) -> str:
        # not its port: a server that a test stopped may come back on another
        key = (id(postgres), generation, own)
        if key not in _MADE:
            template = request.getfixturevalue(f"template_{generation}")
            folder = tmp_path_factory.mktemp(f"built-{generation}")
            _MADE[key] = make_built(postgres, template, generation, folder, own=own)
        return _MADE[key]

    return get


@contextmanager
def copy_of(server: EmbeddedServer, template: str, generation: str, folder: Path) -> Iterator[Installation]:
    """A copy of a built template."""
    with fresh_database(server, template=template) as connection:
        settings = Settings(
            dsn=connection.info.dsn,
            work_dir=folder,
            log_file=folder / "log",
            triggers=DECISIONS,
            lock_timeout=2.0,
            rehearsal_max_seconds=30.0,
        )
        yield Installation(connection, settings, generation, folder / "exports")


@pytest.fixture(params=["2025", "2026"])
def installation(
    request: pytest.FixtureRequest, postgres: EmbeddedServer, built_templates: Any, tmp_path: Path
) -> Iterator[Installation]:
    """An installation with own objects of every kind, once for each generation."""
    with copy_of(postgres, built_templates(request.param), request.param, tmp_path) as copied:
        yield copied


@pytest.fixture
def modern(postgres: EmbeddedServer, built_templates: Any, tmp_path: Path) -> Iterator[Installation]:
    """The same, of the newer generation only."""
    with copy_of(postgres, built_templates("2026"), "2026", tmp_path) as copied:
        yield copied


@pytest.fixture
def stock(postgres: EmbeddedServer, built_templates: Any, tmp_path: Path) -> Iterator[Installation]:
    """An installation of the newer generation without anything of its own."""
    with copy_of(postgres, built_templates("2026", own=False), "2026", tmp_path) as copied:
        yield copied
