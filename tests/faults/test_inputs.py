"""What a run is made of changes between a crash and its resumption: refused, and put back it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate import inputs, lock
from crm_migrate.errors import Exit
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import apply
from faults import sweep
from faults.sweep import Sweep

Connection = psycopg.Connection[Any]

# whichever test comes first makes the databases for all
pytestmark = pytest.mark.timeout(900)


def another_mapping(settings: Settings, connection: Connection) -> Settings:
    del connection
    seeds = settings.work_dir / "seeds"
    shutil.copytree(settings.seeds_dir, seeds)
    with (seeds / "stage_mapping.csv").open("a", encoding="utf-8") as file:
        file.write("demo,lead,active,10\n")
    return replace(settings, seeds_dir=seeds)


def another_setting(settings: Settings, connection: Connection) -> Settings:
    del connection
    return replace(settings, fallback_stage="initial_outreach")


def another_column(settings: Settings, connection: Connection) -> Settings:
    connection.execute("alter table public.deals add column hue text")
    return settings


@pytest.mark.fault(number=19)
@pytest.mark.parametrize(
    ("change", "named"),
    [(another_mapping, "mapping"), (another_setting, "settings"), (another_column, "legacy schema")],
)
def test_changed_inputs_are_refused_when_a_run_goes_on(
    swept: Sweep,
    tmp_path: Path,
    change: Callable[[Settings, Connection], Settings],
    named: str,
) -> None:
    with swept.begun("apply", tmp_path, before="cutover.saved") as (connection, settings):
        changed = change(settings, connection)
        with db.connect(changed) as own, pytest.raises(inputs.InputsChanged, match=named) as refused:
            apply.run(own, changed, Silent())
        assert refused.value.exit_code == Exit.NO_GO
        assert lock.owner(connection) is not None, "the run can still go on, or be given up"
        assert connection.execute("select to_regclass('public.opportunities')").fetchone() == (None,)

        connection.execute("alter table public.deals drop column if exists hue")
        with db.connect(settings) as own:
            apply.run(own, settings, Silent())
        assert sweep.differences(swept.uninterrupted("apply").end, sweep.end_state(connection, settings)) == []
