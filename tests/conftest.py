"""A real PostgreSQL for every test.

One embedded server for a test run, one more for each further xdist worker: roles belong to a whole server and the
maintenance lock alters them, so two tests that run at the same time never share one. A test that changes roles need not
clean up: attributes and role settings are put back after it. Databases are made from templates and dropped.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import demo_data
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from support import fresh_database, make_template

pytest_plugins = ["fault_table", "migrated"]

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def pytest_configure() -> None:
    """Started in the background, this process may ignore Ctrl-C, and all that it starts would ignore it, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """The server of this test run (of this worker): throw-away, with a free port on the loopback address too."""
    with EmbeddedServer(tcp=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[EmbeddedServer]:
    """A PostgreSQL 15 of the system's packages."""
    if not (DEBIAN_15 / "postgres").exists():
        pytest.fail("PostgreSQL 15 is not installed (on Debian: apt-get install postgresql-15)")
    with EmbeddedServer(binaries=DEBIAN_15, tcp=True) as server:
        yield server


@pytest.fixture
def database(postgres: EmbeddedServer) -> Iterator[Connection]:
    """A connection to an empty database of its own."""
    with fresh_database(postgres) as connection:
        yield connection


@pytest.fixture
def database15(postgres15: EmbeddedServer) -> Iterator[Connection]:
    """A connection to an empty database of its own, on PostgreSQL 15."""
    with fresh_database(postgres15) as connection:
        yield connection


@pytest.fixture(scope="session")
def template_2025(postgres: EmbeddedServer) -> str:
    """Name of the database that `legacy_2025` copies."""
    return make_template(postgres, "2025")


@pytest.fixture(scope="session")
def template_2026(postgres: EmbeddedServer) -> str:
    """Name of the database that `legacy_2026` copies."""
    return make_template(postgres, "2026")


@pytest.fixture
def legacy_2025(postgres: EmbeddedServer, template_2025: str) -> Iterator[Connection]:
    """A connection to a legacy CRM of generation 2025 with demo data."""
    with fresh_database(postgres, template=template_2025) as connection:
        yield connection


@pytest.fixture
def legacy_2026(postgres: EmbeddedServer, template_2026: str) -> Iterator[Connection]:
    """A connection to a legacy CRM of generation 2026 with demo data."""
    with fresh_database(postgres, template=template_2026) as connection:
        yield connection


@pytest.fixture(params=["2025", "2026"])
def legacy(request: pytest.FixtureRequest, postgres: EmbeddedServer) -> Iterator[Connection]:
    """A connection to a legacy CRM with demo data; the test runs once for each generation."""
    template: str = request.getfixturevalue(f"template_{request.param}")
    with fresh_database(postgres, template=template) as connection:
        yield connection


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """`make_settings(connection, batch_size=10)`: settings for a test's database; files go below `tmp_path`."""

    def make(connection: Connection, **values: Any) -> Settings:
        folder = tmp_path / "work"
        own: dict[str, Any] = {"work_dir": folder, "backup_dir": folder / "backups", "log_file": folder / "run.log"}
        # a machine that is busy with other tests takes longer than a live system may be held up
        own["rehearsal_max_seconds"] = 30.0
        return Settings(**{"dsn": connection.info.dsn, **own, **values})

    return make


@pytest.fixture
def mapped(make_settings: MakeSettings, tmp_path: Path) -> MakeSettings:
    """`mapped(connection, …)`: settings with the mapping files that fit the demo data."""

    def make(connection: Connection, **values: Any) -> Settings:
        seeds = tmp_path / "seeds"
        if not seeds.exists():
            demo_data.demo_seeds(connection, seeds)
        return make_settings(connection, **{"seeds_dir": seeds, "batch_size": 40, **values})

    return make
