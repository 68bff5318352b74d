"""The commands that lead back: rollback within its window, resumed when killed, and unlock by hand."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import access, control, cutover, fault_points, fingerprint, ledger, lock, status, verification
from crm_migrate import database as db
from crm_migrate.errors import Exit, UsageError, WrongState
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, rollback, unlock
from running import do_it, program, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def back(settings: Settings, **options: Any) -> rollback.RollbackReport:
    with db.connect(settings) as connection:
        return rollback.run(connection, settings, Silent(), **options)


def test_a_database_that_was_never_migrated_has_nothing_to_roll_back(
    legacy_2026: Connection, mapped: MakeSettings
) -> None:
    with pytest.raises(WrongState, match="never migrated"):
        back(mapped(legacy_2026))
    assert not control.installed(legacy_2026), "looking must not write"


def test_window_is_closed_after_48_hours_by_the_servers_clock(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    migrated_2026.execute("update crm_migration.runs set rollback_until = clock_timestamp() - interval '1 second'")
    before = fingerprint.take(migrated_2026)
    with pytest.raises(rollback.WindowClosed) as refused:
        back(settings)
    assert refused.value.exit_code == Exit.WINDOW
    assert "--force --reason" in refused.value.next
    assert fingerprint.compare(before, fingerprint.take(migrated_2026)) == []

    assert back(settings, force_reason="the board decided").differences == []
    recorded = ledger.latest(migrated_2026, "rollback")
    assert recorded is not None
    assert recorded.summary["forced_because"] == "the board decided"


def test_window_is_open_until_its_last_second(migrated_2026: Connection) -> None:
    def cut_over_ago(interval: str) -> None:
        migrated_2026.execute(
            "update crm_migration.runs set cutover_at = now.at - %(ago)s::interval,"
            " rollback_until = now.at - %(ago)s::interval + interval '48 hours'"
            " from (select clock_timestamp() as at) as now where kind = 'apply'",
            {"ago": interval},
        )

    run = rollback.migrated_run(migrated_2026)
    cut_over_ago("47:59:59")
    rollback.require_window(migrated_2026, run, None)
    cut_over_ago("48:00:01")
    with pytest.raises(rollback.WindowClosed):
        rollback.require_window(migrated_2026, run, None)


def test_a_run_that_was_given_up_does_not_hide_the_migration(migrated_2026: Connection, mapped: MakeSettings) -> None:
    migrated_2026.execute(
        "insert into crm_migration.runs (run_id, kind, state, operator, host, pid, started_at)"
        " values ('given-up', 'apply', 'failed', 'x', 'x', 1, '2026-01-01')"
    )
    assert back(mapped(migrated_2026)).apply_run_id != "given-up"


def test_killed_rollback_goes_on_with_the_same_choice_only(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    name = migrated_2026.info.dbname
    killed = program(
        settings, "rollback", "--confirm-database", name, **{fault_points.KILL_AT: "rollback.rollback.worked"}
    )
    said = killed.communicate(timeout=100)[1]
    assert killed.returncode == -signal.SIGKILL, said
    assert lock.owner(migrated_2026) is not None
    with pytest.raises(UsageError, match="other choice"):
        back(settings, keep_changes=False)

    resumed = program(settings, "rollback", "--confirm-database", name)
    said = resumed.communicate(timeout=100)[1]
    assert resumed.returncode == 0, said
    assert unlocked(migrated_2026)
    assert migrated_2026.execute("select to_regclass('public.opportunities')").fetchone() == (None,)
    found = status.read(migrated_2026)
    assert found.state == "completed"
    assert found.next_command == "crm-migrate dry-run"


def test_unlock_gives_up_a_run_before_its_cutover(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    before, allowed = fingerprint.take(tried_2026), access.capture(tried_2026)
    name = tried_2026.info.dbname
    killed = program(settings, "apply", "--confirm-database", name, **{fault_points.KILL_AT: "apply.gates.done"})
    assert killed.wait(timeout=100) == -signal.SIGKILL
    found = status.read(tried_2026)
    assert found.locked_by is not None
    assert "crm-migrate apply" in found.next_command
    assert "unlock" in found.next_command

    with db.connect(settings) as connection:
        report = unlock.unlock_by_hand(connection, settings, accept_failed=None)
    assert report.given_up is not None
    assert fingerprint.compare(before, fingerprint.take(tried_2026)) == []
    assert access.capture(tried_2026) == allowed
    assert do_it(settings).steps[-1].state == "done", "a new run starts from the beginning"


def test_a_failed_verification_is_opened_with_a_reason_only(
    tried_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(tried_2026)

    def failed(*args: Any, **kwargs: Any) -> verification.Verification:
        raise apply.VerificationFailed("made on purpose")

    monkeypatch.setattr(verification, "run", failed)
    with pytest.raises(apply.VerificationFailed):
        do_it(settings)
    assert cutover.is_done(tried_2026, str(status.read(tried_2026).run_id))
    with db.connect(settings) as connection, pytest.raises(WrongState):
        unlock.unlock_by_hand(connection, settings, accept_failed=None)
    assert not unlocked(tried_2026)
    with db.connect(settings) as connection:
        unlock.unlock_by_hand(connection, settings, accept_failed="seen and understood")
    assert unlocked(tried_2026)
    run = ledger.latest(tried_2026, "apply")
    assert run is not None
    assert run.summary["accepted_because"] == "seen and understood"


def test_lock_by_hand_and_unlock(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    allowed = access.capture(legacy_2026)
    with db.connect(settings) as connection:
        assert unlock.lock_by_hand(connection, settings).locked
    # the hand that locked is gone, the lock is not
    with pytest.raises(psycopg.Error, match="maintenance"):
        legacy_2026.execute("update public.deals set name = name")
    with db.connect(settings) as connection, pytest.raises(lock.LockHeld):
        unlock.lock_by_hand(connection, settings)
    with db.connect(settings) as connection:
        unlock.unlock_by_hand(connection, settings, accept_failed=None)
    assert access.capture(legacy_2026) == allowed
    with db.connect(settings) as connection, pytest.raises(WrongState, match="not locked"):
        unlock.unlock_by_hand(connection, settings, accept_failed=None)


def test_a_command_waits_for_no_open_transaction_of_people(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    with db.connect(settings) as person, person.transaction():
        person.execute("update public.companies set name = name where id = 1")
        # has written into the journal, and so holds a lock on it
        with db.connect(settings) as connection:
            connection.execute("set lock_timeout = '200ms'")
            control.install(connection, settings)
