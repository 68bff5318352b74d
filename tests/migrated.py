"""Databases that the real program has migrated, copied for each test from a template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import database as db
from crm_migrate import demo_data
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run
from support import fresh_database, make_template

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

TRIED_AS = "tried"


def migrate(settings: Settings) -> None:
    """Dry run and apply, each with a connection of its own as the program has it."""
    with db.connect(settings) as connection:
        report = dry_run.run(connection, settings, Silent(), accepted={})
        assert report.verdict == "GO", report.reasons
    with db.connect(settings) as connection:
        apply.run(connection, settings, Silent())


def make_migrated(server: EmbeddedServer, legacy_template: str, name: str, folder: Path) -> str:
    """A template with a migrated database."""
    migrate(_own_copy(server, legacy_template, name, folder))
    return name


def _own_copy(server: EmbeddedServer, legacy_template: str, name: str, folder: Path) -> Settings:
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(legacy_template))
        )
    settings = Settings(
        dsn=server.dsn(name),
        work_dir=folder,
        backup_dir=folder / "backups",
        log_file=folder / "run.log",
        seeds_dir=folder / "seeds",
        batch_size=40,
        rehearsal_max_seconds=30.0,
    )
    with db.connect(settings) as connection:
        demo_data.demo_seeds(connection, settings.seeds_dir)
    return settings


@pytest.fixture(scope="session")
def migrated_template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, EmbeddedServer], str]:
    """`migrated_template(generation, server)`: name of a migrated database, made when it is first asked for."""
    made: dict[tuple[str, int], str] = {}

    def get(generation: str, server: EmbeddedServer) -> str:
        key = (generation, id(server))
        if key not in made:
            legacy = make_template(server, generation, name=f"unmigrated_{generation}")
            folder = tmp_path_factory.mktemp(f"migrated-{generation}")
            made[key] = make_migrated(server, legacy, f"migrated_{generation}", folder)
        return made[key]

    return get


@pytest.fixture(scope="session")
def tried_template_2026(postgres: EmbeddedServer, template_2026: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of the database that `tried_2026` and `kept_2026` copy."""
    settings = _own_copy(postgres, template_2026, TRIED_AS, tmp_path_factory.mktemp("tried-2026"))
    with db.connect(settings) as connection:
        assert dry_run.run(connection, settings, Silent(), accepted={}).verdict == "GO"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("alter database {} rename to {}").format(sql.Identifier(TRIED_AS), sql.Identifier("tried_2026"))
        )
    return "tried_2026"


@pytest.fixture
def tried_2026(postgres: EmbeddedServer, tried_template_2026: str) -> Iterator[Connection]:
    """A connection to a legacy CRM with a passed dry run, for the settings that `mapped` makes by itself."""
    with fresh_database(postgres, template=tried_template_2026) as connection:
        yield connection


@pytest.fixture
def kept_2026(postgres: EmbeddedServer, tried_template_2026: str) -> Iterator[Connection]:
    """The same under the name that it had at the dry run, whose build is gone on with in no other database."""
    with fresh_database(postgres, template=tried_template_2026, name=TRIED_AS) as connection:
        yield connection


@pytest.fixture(scope="session")
def migrated_template_2025(postgres: EmbeddedServer, migrated_template: Callable[[str, EmbeddedServer], str]) -> str:
    """Name of the database that `migrated_2025` copies."""
    return migrated_template("2025", postgres)


@pytest.fixture(scope="session")
def migrated_template_2026(postgres: EmbeddedServer, migrated_template: Callable[[str, EmbeddedServer], str]) -> str:
    """Name of the database that `migrated_2026` copies."""
    return migrated_template("2026", postgres)


@pytest.fixture(params=["2025", "2026", "2025 on 15", "2026 on 15"])
def migrated_anywhere(
    request: pytest.FixtureRequest, migrated_template: Callable[[str, EmbeddedServer], str]
) -> Iterator[Connection]:
    """A migrated CRM of each generation, on the embedded server and on PostgreSQL 15."""
    generation, _, older = request.param.partition(" on ")
    server: EmbeddedServer = request.getfixturevalue(f"postgres{older}")
    with fresh_database(server, template=migrated_template(generation, server)) as connection:
        yield connection


@pytest.fixture
def migrated_2025(postgres: EmbeddedServer, migrated_template_2025: str) -> Iterator[Connection]:
    """A connection to a migrated CRM that was of generation 2025."""
    with fresh_database(postgres, template=migrated_template_2025) as connection:
        yield connection


@pytest.fixture
def migrated_2026(postgres: EmbeddedServer, migrated_template_2026: str) -> Iterator[Connection]:
    """A connection to a migrated CRM that was of generation 2026."""
    with fresh_database(postgres, template=migrated_template_2026) as connection:
        yield connection


@pytest.fixture(params=["2025", "2026"])
def migrated(request: pytest.FixtureRequest, postgres: EmbeddedServer) -> Iterator[Connection]:
    """A connection to a migrated CRM; the test runs once for each generation it was of."""
    template: str = request.getfixturevalue(f"migrated_template_{request.param}")
    with fresh_database(postgres, template=template) as connection:
        yield connection
