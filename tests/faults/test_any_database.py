"""Any database that the legacy types allow goes there and back, or is refused for a reason that was to be expected.

The seed is fixed, so that a run is repeated exactly; `CRM_FAULTS_SEED=2 make faults` tries other databases.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from crm_migrate import database as db
from crm_migrate import demo_data
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from fault_table import Tally, whole
from faults.anydb.journey import Installation, Statistic, installations, travel
from faults.anydb.repeatable import always_the_same
from support import fresh_database

SEED = int(os.environ.get("CRM_FAULTS_SEED", "1"))
SHARDS, EXAMPLES = (8, 25) if whole() else (1, 5)
# the others have something that blocks on purpose; of a few examples, a smaller share may come through
WHOLE_WAY = 0.6 if whole() else 0.4


def make_templates(postgres: EmbeddedServer) -> dict[str, str]:
    """An empty legacy CRM of each generation, by generation: the names of the databases that examples copy."""
    made = {}
    for generation in ("2025", "2026"):
        name = f"empty_{generation}"
        with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        with db.connect(Settings(dsn=postgres.dsn(name))) as connection:
            demo_data.create_schema(connection, generation)
            connection.execute("create extension if not exists citext with schema extensions")
            connection.execute("vacuum analyze")
        made[generation] = name
    return made


@pytest.fixture(scope="session")
def empty_templates(postgres: EmbeddedServer) -> dict[str, str]:
    """Names of empty legacy CRMs, by generation."""
    return make_templates(postgres)


@pytest.mark.fault(name="any database")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_any_database(
    shard: int, postgres: EmbeddedServer, empty_templates: dict[str, str], tmp_path: Path, tally: Tally
) -> None:
    statistic = Statistic()

    @always_the_same(installations(), seed=SEED * 1000 + shard, examples=EXAMPLES)
    def try_one(installation: Installation) -> None:
        tally.tried()
        work = tmp_path / "work"
        try:
            with fresh_database(postgres, template=empty_templates[installation.generation]) as connection:
                travel(postgres, connection, installation, work, statistic)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        tally.survived()

    try_one()
    assert statistic.examples >= EXAMPLES
    assert statistic.whole_way >= WHOLE_WAY * statistic.examples, statistic
    # an addition that the server refuses tests nothing
    assert len(statistic.impossible) <= 0.2 * statistic.additions + 1, statistic.impossible


def test_a_seed_gives_the_same_installations_in_every_process() -> None:
    """Whatever modules are loaded, and however this process orders its sets."""
    program = """
import sys
from faults.anydb.journey import installations
from faults.anydb.repeatable import always_the_same

if sys.argv[1:]:
    import crm_migrate.cli, faults.sweep

@always_the_same(installations(), seed=7, examples=12)
def show(installation):
    print(repr(installation))

show()
"""
    shown = {
        subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": order},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for order, arguments in (("0", []), ("1", []), ("2", ["with the program"]))
    }
    assert len(shown) == 1
    assert len(shown.pop().splitlines()) >= 12
