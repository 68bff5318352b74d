"""The program is killed at every place that it passes; the same command goes on, and nobody can tell afterwards."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import fault_points
from fault_table import whole
from faults import sweep
from faults.sweep import SCENARIOS, Sweep

Connection = psycopg.Connection[Any]

# whichever test comes first makes the databases for all
pytestmark = pytest.mark.timeout(900)

# how many places of a scenario `make test` tries
SAMPLED = {"apply": 3, "rollback": 2, "unlock": 1}


def _cases() -> list[Any]:
    chosen: dict[str, list[Any]]
    if whole():
        chosen = {name: [*sweep.every_point(name)] for name in SCENARIOS}
    else:
        chosen = {name: [*range(count)] for name, count in SAMPLED.items()}
    return [
        pytest.param(
            name,
            place,
            id=f"{name}-{place}",
            marks=pytest.mark.fault(
                number=SCENARIOS[name].fault, name=f"SIGKILL in {' '.join(SCENARIOS[name].command[:2])}"
            ),
        )
        for name, places in chosen.items()
        for place in places
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Asked when the cases are collected and not at the import: a run that leaves them out need not trace."""
    if "place" in metafunc.fixturenames:
        metafunc.parametrize(("scenario", "place"), _cases())


def test_killed_program_goes_on_and_ends_like_an_uninterrupted_one(
    swept: Sweep, tmp_path: Path, scenario: str, place: str | int
) -> None:
    uninterrupted = swept.uninterrupted(scenario)
    if isinstance(place, int):
        place = sweep.sample(scenario, uninterrupted.points, SAMPLED[scenario])[place]
    assert place in uninterrupted.points, "the list of places is not that of this program"
    with swept.begun(scenario, tmp_path, before=place) as (connection, settings):
        command = SCENARIOS[scenario].command
        killed = sweep.run(settings, command, **{fault_points.KILL_AT: place})
        assert killed.exit_code == -signal.SIGKILL, killed.said
        assert f"killed at {place}" in killed.said, "the fault did not happen"
        was_done = sweep.end_state(connection, settings) == uninterrupted.end

        resumed = sweep.run(settings, command)
        if not (was_done and sweep.is_refusal_of_what_is_done(resumed)):
            assert resumed.exit_code == 0, f"killed at {place}, then:\n{resumed.said}"
        found = sweep.differences(uninterrupted.end, sweep.end_state(connection, settings))
        assert found == [], f"killed at {place}"
