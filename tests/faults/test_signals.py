"""An operator or a service manager stops the program in any phase; it says how to go on, and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import fault_points
from crm_migrate.errors import Exit
from crm_migrate.steps import apply, rollback
from fault_table import whole
from faults import sweep
from faults.sweep import SCENARIOS, Sweep

Connection = psycopg.Connection[Any]

# whichever test comes first makes the databases for all
pytestmark = pytest.mark.timeout(900)

_SIGNALS = ("SIGINT", "SIGTERM")
# every step, and the middle of what is one transaction, of a batch and of the unlock
PHASES = {
    "apply": [
        "load opportunities batch 1 written",
        "cutover.before-commit",
        *(f"apply.{step}.started" for step in apply.WARM_STEPS),
        "archive.contacts.copied",
        "sql.prepare/stage_1/20_indexes",
        "lock.fence-raised",
        "unlock.fence-dropped",
    ],
    "rollback": [
        "rollback.tables-back",
        *(f"rollback.{step}.started" for step in rollback.STEPS),
        "unlock.fence-dropped",
    ],
}
SAMPLED = {"apply": 1, "rollback": 1}


def _cases() -> list[Any]:
    return [
        pytest.param(scenario, point, _SIGNALS[index % 2], id=f"{scenario}-{point}")
        for scenario, points in PHASES.items()
        for index, point in enumerate(points if whole() else points[: SAMPLED[scenario]])
    ]


@pytest.mark.fault(number=2)
@pytest.mark.parametrize(("scenario", "point", "signal"), _cases())
def test_stopped_program_says_how_to_go_on_and_goes_on(
    swept: Sweep, tmp_path: Path, scenario: str, point: str, signal: str
) -> None:
    command = SCENARIOS[scenario].command
    with swept.begun(scenario, tmp_path, before=point) as (connection, settings):
        at = {fault_points.KILL_AT: point, fault_points.KILL_WITH: signal}
        stopped = sweep.run(settings, command, **at)
        assert f"killed at {point}" in stopped.said, "the fault did not happen"
        assert stopped.exit_code == Exit.INTERRUPTED, stopped.said
        assert f"crm-migrate {scenario} goes on" in " ".join(stopped.said.split()), stopped.said
        assert "Traceback" not in stopped.said

        resumed = sweep.run(settings, command)
        assert resumed.exit_code == 0, resumed.said
        assert sweep.differences(swept.uninterrupted(scenario).end, sweep.end_state(connection, settings)) == []
