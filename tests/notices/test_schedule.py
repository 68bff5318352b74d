"""The planned window: the server's clock counts, one plan is in force, and the migration ends it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from crm_migrate import control
from crm_migrate import database as db
from crm_migrate.errors import UsageError, WrongState
from crm_migrate.notices import schedule
from crm_migrate.settings import Settings
from people import value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def ready(database: Connection, make_settings: MakeSettings) -> Connection:
    control.install(database, make_settings(database))
    return database


def test_nothing_is_planned_where_the_program_never_was(database: Connection) -> None:
    assert schedule.current(database) is None


@pytest.mark.parametrize(
    ("before", "phase"),
    [
        (timedelta(hours=2, seconds=30), "announced"),
        (timedelta(hours=2), "banner"),
        (timedelta(minutes=30), "final"),
        (timedelta(0), "started"),
        (timedelta(minutes=-60), "over"),
    ],
)
def test_phase_follows_the_clock(before: timedelta, phase: str) -> None:
    start = datetime(2026, 11, 28, 22, tzinfo=UTC)
    window = schedule.Window("plan", start, 60, start - timedelta(days=2), start - before)
    assert window.phase == phase
    assert window.seconds_until_start == before.total_seconds()


def test_plan_is_in_force_until_it_is_replaced_or_called_off(ready: Connection) -> None:
    with pytest.raises(WrongState):
        schedule.call_off(ready)
    start = schedule.server_clock(ready) + timedelta(days=3)
    first = schedule.plan(ready, start, 90)
    assert (first.starts_at, first.ends_at, first.phase) == (start, start + timedelta(minutes=90), "announced")
    second = schedule.plan(ready, start + timedelta(days=1), 30)
    found = schedule.current(ready)
    assert found is not None
    assert found.plan_id == second.plan_id != first.plan_id
    assert value(ready, "select replaces from crm_migration.schedule where in_force") == first.plan_id
    schedule.call_off(ready)
    assert schedule.current(ready) is None
    assert value(ready, "select count(*) from crm_migration.schedule where called_off") == 1


def test_two_operators_leave_one_plan(ready: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(ready)
    start = schedule.server_clock(ready) + timedelta(days=3)

    def plan(number: int) -> str:
        with db.connect(settings) as connection:
            return schedule.plan(connection, start, 10 + number).plan_id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(plan, range(4)))) >= 1
    assert value(ready, "select count(*) from crm_migration.schedule where in_force") == 1
    assert value(ready, "select count(*) from crm_migration.schedule") == 4


def test_migration_ends_the_plan(ready: Connection) -> None:
    schedule.plan(ready, schedule.server_clock(ready) + timedelta(days=3), 90)
    insert = (
        "insert into crm_migration.runs (run_id, kind, state, operator, host, pid, cutover_at)"
        " values (%s, 'apply', 'completed', 'ann', 'here', 1, clock_timestamp() + %s)"
    )
    ready.execute(insert, ["an-earlier-one", timedelta(days=-1)])
    assert schedule.current(ready) is not None
    ready.execute(insert, ["this-one", timedelta(0)])
    assert schedule.current(ready) is None


def test_past_and_endless_windows_are_refused(ready: Connection) -> None:
    now = schedule.server_clock(ready)
    with pytest.raises(UsageError, match="server's clock"):
        schedule.plan(ready, now - timedelta(seconds=1), 60)
    for minutes in (0, schedule.LONGEST_MINUTES + 1):
        with pytest.raises(UsageError, match="minutes"):
            schedule.plan(ready, now + timedelta(days=1), minutes)
    assert schedule.current(ready) is None


@pytest.mark.parametrize(
    ("text", "hour"), [("2026-11-28 22:00", 22), ("2026-11-28T22:00:00+01:00", 21), (" 2026-11-28T22:00Z ", 22)]
)
def test_times_are_utc_unless_they_say_their_zone(text: str, hour: int) -> None:
    assert schedule.parse(text).astimezone(UTC) == datetime(2026, 11, 28, hour, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "22:00", "2026-11-28", "tomorrow", "2026-02-30 22:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a date with a time"):
        schedule.parse(text)
