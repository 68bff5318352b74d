"""Which notices are due at which moment, by the plan and by the states of the runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from crm_migrate.notices import outbox, schedule
from crm_migrate.notices.outbox import Due
from crm_migrate.notices.recipients import Person
from people import value

Connection = psycopg.Connection[Any]

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ANN = [Person("ann@example.com", "Ann")]


def due(connection: Connection, moment: Any) -> set[tuple[str, str]]:
    return set(
        connection.execute(
            "select event, subject from crm_migration.due_notices(%s, '15 minutes')", [moment]
        ).fetchall()
    )


def events(connection: Connection, moment: Any) -> set[str]:
    return {event for event, _ in due(connection, moment)}


def tell(connection: Connection, event: str, subject: str) -> None:
    assert outbox.queue(connection, Due(event, subject), ANN, "example.com") == 1


def add_run(connection: Connection, run_id: str, kind: str, state: str, **times: Any) -> None:
    """A run; its times are minutes before now."""
    columns = ", ".join(times)
    values = ", ".join(f"clock_timestamp() - make_interval(mins => {int(minutes)})" for minutes in times.values())
    connection.execute(
        f"insert into crm_migration.runs (run_id, kind, state, operator, host, pid, {columns})"
        f" values (%s, %s, %s, 'ann', 'here', 1, {values})",
        [run_id, kind, state],
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (24 * HOUR + MINUTE, set()),
        (24 * HOUR, {"day-before"}),
        (2 * HOUR, {"day-before"}),
        (31 * MINUTE, {"day-before"}),
        (30 * MINUTE, {"final-warning"}),
        (MINUTE, {"final-warning"}),
        (0 * MINUTE, set()),
        (-14 * MINUTE, set()),
        (-15 * MINUTE, {"delayed"}),
        (-15 * HOUR, set()),
    ],
)
def test_plan_is_told_a_day_and_half_an_hour_before(users: Connection, before: timedelta, expected: set[str]) -> None:
    start = schedule.server_clock(users) + 48 * HOUR
    plan = schedule.plan(users, start, 60)
    tell(users, "day-before", plan.plan_id)
    assert events(users, start - before) == expected


def test_nobody_is_told_of_the_delay_of_a_plan_that_nobody_knew(users: Connection) -> None:
    start = schedule.server_clock(users) + HOUR
    schedule.plan(users, start, 60)
    assert events(users, start + 20 * MINUTE) == set()


def test_who_knew_the_old_time_is_told_the_new_one_once(users: Connection) -> None:
    now = schedule.server_clock(users)
    first = schedule.plan(users, now + 20 * HOUR, 60)
    tell(users, "day-before", first.plan_id)
    schedule.plan(users, now + 21 * HOUR, 60)
    third = schedule.plan(users, now + 22 * HOUR, 60)
    # the mail about the move is the day-before mail as well, when it is less than a day ahead
    assert due(users, now) == {("moved", third.plan_id)}
    fourth = schedule.plan(users, now + 72 * HOUR, 60)
    assert due(users, now) == {("moved", fourth.plan_id)}
    assert due(users, now + 50 * HOUR) == {("moved", fourth.plan_id), ("day-before", fourth.plan_id)}
    # back to the time that people know
    fifth = schedule.plan(users, first.starts_at, 30)
    assert due(users, now) == {("day-before", fifth.plan_id)}


def test_plan_that_is_called_off_is_told_to_those_who_knew_it(users: Connection) -> None:
    now = schedule.server_clock(users)
    schedule.plan(users, now + 20 * HOUR, 60)
    schedule.call_off(users)
    assert events(users, schedule.server_clock(users)) == set()
    known = schedule.plan(users, now + 20 * HOUR, 60)
    tell(users, "day-before", known.plan_id)
    schedule.call_off(users)
    assert due(users, schedule.server_clock(users)) == {("called-off", known.plan_id)}


def test_run_is_told_from_the_lock_to_the_unlock(users: Connection) -> None:
    now = schedule.server_clock(users)
    add_run(users, "r1", "apply", "running", started_at=1)
    assert events(users, now) == set()
    users.execute("update crm_migration.runs set locked_at = clock_timestamp()")
    assert due(users, now) == {("started", "r1")}
    users.execute("update crm_migration.runs set state = 'stopped'")
    assert due(users, now) == {("started", "r1")}, "people cannot work while it is stopped"
    users.execute("update crm_migration.runs set state = 'completed', unlocked_at = clock_timestamp()")
    now = schedule.server_clock(users)
    assert due(users, now) == {("completed", "r1")}
    assert events(users, now + 25 * HOUR) == set()


def test_run_that_takes_longer_than_planned_is_told(users: Connection) -> None:
    plan = schedule.plan(users, schedule.server_clock(users) + MINUTE, 60)
    add_run(users, "r1", "apply", "running", started_at=-1, locked_at=-1)
    assert events(users, plan.ends_at + 14 * MINUTE) == {"started"}
    assert due(users, plan.ends_at + 15 * MINUTE) == {("started", "r1"), ("delayed", "r1")}


def test_run_that_was_given_up_before_its_cutover_is_told(users: Connection) -> None:
    add_run(users, "r1", "apply", "failed", started_at=20, locked_at=19, finished_at=1)
    now = schedule.server_clock(users)
    assert events(users, now) == set(), "nobody was told that it had started"
    tell(users, "started", "r1")
    assert due(users, now) == {("called-off", "r1")}
    add_run(users, "r2", "apply", "running", started_at=0, locked_at=0)
    assert due(users, now) == {("started", "r2")}, "the next try is at work already"


def test_way_back_is_told_instead_of_the_completion(users: Connection) -> None:
    add_run(users, "r1", "apply", "rolled_back", started_at=60, locked_at=59, cutover_at=50, unlocked_at=40)
    add_run(users, "b1", "rollback", "completed", started_at=9, finished_at=1)
    assert due(users, schedule.server_clock(users)) == {("rolled-back", "b1")}


def test_end_of_the_old_names_is_told_a_week_before(users: Connection) -> None:
    add_run(users, "r1", "apply", "completed", started_at=60 * 24 * 25, unlocked_at=60 * 24 * 25)
    users.execute("create schema crm_compat")
    users.execute("create table crm_compat.promises (relation text, successor text, until timestamptz)")
    users.execute("insert into crm_compat.promises values ('deals', 'opportunities', '2026-12-29 22:00+00')")
    assert events(users, "2026-12-23 22:00+00") == set(), "the view was dropped"
    users.execute("create view public.deals as select 1 as id")
    assert events(users, "2026-12-22 21:59+00") == set()
    assert due(users, "2026-12-22 22:00+00") == {("compat-ending", "r1")}
    assert events(users, "2027-01-06 22:00+00") == set()


def test_what_is_not_due_any_more_is_given_up(users: Connection) -> None:
    tell(users, "final-warning", "p1")
    tell(users, "day-before", "p1")
    outbox.queue(users, Due("completed", "r1"), ANN, "example.com", by_hand=True)
    assert outbox.expire(users, [Due("day-before", "p1")]) == 1
    assert value(users, "select event from crm_migration.notices where state = 'expired'") == "final-warning"
