"""The whole migration: dry run, apply, verify; and each way out of a failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import access, control, cutover, fingerprint, inputs, ledger, lock, verification
from crm_migrate import database as db
from crm_migrate.errors import Exit, MigrationError
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import admission, apply, rollback, unlock, verify
from crm_migrate.steps.deadline import DeadlinePassed
from running import do_it, program, try_it, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_a_dry_run_leaves_all_as_it_was_and_an_apply_migrates(legacy: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy)
    control.install(legacy, settings)
    before, allowed = fingerprint.take(legacy), access.capture(legacy)
    report = try_it(settings)
    assert report.verdict == "GO", report.reasons
    assert report.checks["expected"] == report.checks["evaluated"] > 0
    assert report.new_entities["opportunities"] == report.entities["deals"]["rows"]
    assert report.cutover_rehearsal["ok"]
    assert fingerprint.compare(before, fingerprint.take(legacy)) == []
    assert access.capture(legacy) == allowed

    # and the apply after it migrates, verifies and unlocks
    deals = legacy.execute("select count(*), sum(amount) from public.deals").fetchone()
    done = do_it(settings)
    assert [step.state for step in done.steps] == ["done"] * len(apply.WARM_STEPS)
    assert done.backup["restore_tested"] is True
    assert next(step for step in done.steps if step.name == "lock").detail["checkpoint"] is True
    assert legacy.execute("select count(*), sum(amount) from public.opportunities").fetchone() == deals
    assert unlocked(legacy)
    checked = verify.run(legacy, settings)
    assert checked.ok, checked.oracles
    assert {oracle.id for oracle in checked.oracles} >= {"O1", "O2", "O3", "O4"}
    phases = [row[0] for row in legacy.execute("select phase from crm_migration.migration_history order by phase")]
    assert phases == ["1.1", "1.2", "1.3", "1.4", "1.5"]


def test_apply_needs_a_passed_dry_run(legacy_2026: Connection, mapped: MakeSettings) -> None:
    with pytest.raises(admission.NoDryRun) as refused:
        do_it(mapped(legacy_2026))
    assert refused.value.exit_code == Exit.NO_GO
    assert refused.value.next == "crm-migrate dry-run"


def test_apply_needs_a_recent_dry_run(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    tried_2026.execute("update crm_migration.runs set finished_at = finished_at - interval '25 hours'")
    with pytest.raises(admission.NoDryRun, match="hours old"):
        do_it(settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda connection, seeds: (seeds / "stage_mapping.csv").open("a").write("demo,lead,active,10\n"), "mapping"),
        (lambda connection, seeds: connection.execute("alter table public.deals add column hue text"), "legacy schema"),
    ],
)
def test_what_changed_since_the_dry_run_is_named(
    tried_2026: Connection, mapped: MakeSettings, change: Callable[[Connection, Path], Any], named: str
) -> None:
    settings = mapped(tried_2026)
    change(tried_2026, settings.seeds_dir)
    with pytest.raises(inputs.InputsChanged, match=named):
        do_it(settings)
    assert unlocked(tried_2026)


def test_second_apply_is_refused_and_writes_nothing(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    before = fingerprint.take(migrated_2026)
    with pytest.raises(admission.AlreadyMigrated):
        do_it(settings)
    assert fingerprint.compare(before, fingerprint.take(migrated_2026)) == []


def test_no_go_under_the_lock_unlocks_and_leaves_everything(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    tried_2026.execute("update public.deals set stage = 'made up' where id % 10 = 0")
    before = fingerprint.take(tried_2026)
    with pytest.raises(apply.GateSaysNo) as refused:
        do_it(settings)
    assert refused.value.exit_code == Exit.NO_GO
    assert unlocked(tried_2026)
    assert fingerprint.compare(before, fingerprint.take(tried_2026)) == []


def test_failed_verification_stays_locked_and_shows_both_ways(
    tried_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(tried_2026)
    before = fingerprint.take(tried_2026)
    real = verification.run

    def damaged(connection: Connection, *args: Any, **kwargs: Any) -> verification.Verification:
        with connection.transaction():
            connection.execute("alter table public.opportunities disable trigger all")
            connection.execute(
                "update public.opportunities set amount = amount + 1"
                " where id = (select min(id) from public.opportunities where amount is not null)"
            )
            connection.execute("alter table public.opportunities enable trigger all")
        return real(connection, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(verification, "run", damaged)
        with pytest.raises(apply.VerificationFailed) as failed:
            do_it(settings)
    assert failed.value.exit_code == Exit.VERIFICATION_FAILED
    assert "rollback" in failed.value.next
    assert "--accept-failed-verification" in failed.value.next
    assert lock.owner(tried_2026) is not None
    with db.connect(settings) as other, pytest.raises(MigrationError, match="past its cutover"):
        unlock.unlock_by_hand(other, settings, accept_failed=None)
    with db.connect(settings) as other:
        rollback.run(other, settings, Silent(), keep_changes=False)
    assert unlocked(tried_2026)
    assert fingerprint.compare(before, fingerprint.take(tried_2026)) == []


def test_a_blocked_cutover_names_the_session_and_goes_on_later(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026, lock_timeout=1.0)
    real = cutover.execute
    with (
        psycopg.connect(tried_2026.info.dsn, application_name="a report") as busy,
        pytest.MonkeyPatch.context() as patch,
    ):

        def blocked(*args: Any, **kwargs: Any) -> cutover.CutoverResult:
            busy.execute("lock table public.deals in access share mode")
            return real(*args, **kwargs)

        patch.setattr(cutover, "execute", blocked)
        with pytest.raises(cutover.CutoverBlocked, match="locked by somebody else") as stopped:
            do_it(settings)
        busy.rollback()
    assert stopped.value.exit_code == Exit.RESUMABLE
    assert "a report" in stopped.value.why
    assert lock.owner(tried_2026) is not None, "what was built would be out of date otherwise"
    assert tried_2026.execute("select to_regclass('public.opportunities')").fetchone() == (None,)
    assert do_it(settings).steps[-1].state == "done", "the same command goes on"
    assert unlocked(tried_2026)


def test_a_cutover_that_cannot_be_unlocks(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    before = fingerprint.take(tried_2026)
    with pytest.MonkeyPatch.context() as patch:

        def refused(*args: Any, **kwargs: Any) -> cutover.CutoverResult:
            raise cutover.CutoverRefused(
                [cutover.Blocker("view.not_carried", "schema", "The view v cannot be made again")]
            )

        patch.setattr(cutover, "execute", refused)
        with pytest.raises(cutover.CutoverRefused) as stopped:
            do_it(settings)
    assert stopped.value.exit_code == Exit.NO_GO
    assert unlocked(tried_2026)
    assert fingerprint.compare(before, fingerprint.take(tried_2026)) == []


def test_deadline_stops_unlocked_before_the_cutover(tried_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(tried_2026)
    before = fingerprint.take(tried_2026)
    now = tried_2026.execute("select clock_timestamp()").fetchone()
    assert now is not None
    with pytest.raises(DeadlinePassed) as stopped:
        do_it(settings, deadline=now[0])
    assert stopped.value.exit_code == Exit.RESUMABLE
    assert unlocked(tried_2026)
    assert fingerprint.compare(before, fingerprint.take(tried_2026)) == []
    assert do_it(settings).steps[-1].state == "done", "the same command goes on"


def test_without_a_terminal_a_missing_confirmation_names_the_flag(
    legacy_2026: Connection, mapped: MakeSettings
) -> None:
    asked = program(mapped(legacy_2026), "apply")
    said = asked.communicate(timeout=60)[1]
    assert asked.returncode == Exit.USAGE
    assert f"--confirm-database {legacy_2026.info.dbname}" in said
    assert ledger.latest(legacy_2026, "apply") is None
