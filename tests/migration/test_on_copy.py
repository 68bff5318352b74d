"""The dry run on a restored copy: measured there, nothing left behind, nothing changed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from crm_migrate import access, control, fingerprint, ledger
from crm_migrate import database as db
from crm_migrate.errors import Exit, Interrupted
from crm_migrate.observer import Silent
from crm_migrate.reports import DryRunReport
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import admission, apply, dry_run, on_copy
from running import do_it, try_it, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

CARRIED = """
    create function public.note_won() returns trigger language plpgsql set search_path = '' as $$
    begin {body} return new; end $$;
    create trigger deal_won after insert or update on public.deals for each row execute function public.note_won();
"""


def try_on_copy(settings: Settings) -> DryRunReport:
    with db.connect(settings) as connection:
        return on_copy.run(connection, settings, Silent(), accepted={})


def databases(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute("select datname::text from pg_catalog.pg_database")}


def left_over(settings: Settings) -> list[str]:
    """Dumps of the live database that a dry run on a copy left in the working folder."""
    return sorted(str(path) for path in settings.work_dir.rglob("manifest.json"))


def test_go_is_measured_leaves_nothing_and_is_enough_for_apply(legacy: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy)
    control.install(legacy, settings)
    before, allowed, there = fingerprint.take(legacy), access.capture(legacy), databases(legacy)
    report = try_on_copy(settings)

    assert report.verdict == "GO", report.reasons
    assert report.on_copy is not None
    assert report.on_copy["ok"] is True
    assert set(report.on_copy["seconds"]) == set(apply.STEPS)
    assert report.estimate is not None
    assert report.estimate.downtime_seconds > 0
    assert report.estimate.downtime_seconds_with_buffer > report.estimate.downtime_seconds
    assert [step.name for step in report.steps] == list(on_copy.STEPS)
    assert {step.state for step in report.steps} == {"done"}

    assert fingerprint.compare(before, fingerprint.take(legacy)) == []
    assert access.capture(legacy) == allowed
    with psycopg.connect(legacy.info.dsn, user="authenticator") as still:
        assert still.info.dbname == legacy.info.dbname
    assert databases(legacy) == there
    assert left_over(settings) == []

    assert do_it(settings).steps[-1].state == "done"
    assert unlocked(legacy)


def test_no_go_on_the_copy_is_a_no_go_here(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    there = databases(legacy_2026)
    legacy_2026.execute("update public.deals set stage = 'made up' where id % 10 = 0")
    report = try_on_copy(settings)
    assert report.verdict == "NO-GO"
    assert any("deals" in reason for reason in report.reasons)
    assert report.on_copy is not None
    assert report.on_copy["ok"] is False
    assert databases(legacy_2026) == there
    with pytest.raises(admission.NoDryRun):
        do_it(settings)


@pytest.mark.parametrize("failure", [apply.VerificationFailed("made up"), KeyboardInterrupt(), RuntimeError("made up")])
def test_the_copy_is_dropped_after_a_failure(
    legacy_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    settings = mapped(legacy_2026)
    there, seen = databases(legacy_2026), set[str]()

    def fail(*args: Any, **kwargs: Any) -> None:
        seen.update(databases(legacy_2026) - there)
        raise failure

    monkeypatch.setattr(dry_run, "run", fail)
    expected = Interrupted if isinstance(failure, KeyboardInterrupt) else type(failure)
    with pytest.raises(expected):
        try_on_copy(settings)
    assert len(seen) == 1, "the failure came before there was a copy"
    assert databases(legacy_2026) == there
    assert left_over(settings) == []
    run = ledger.latest(legacy_2026)
    assert run is not None
    assert run.state in ("failed", "stopped")


def test_the_copy_of_a_killed_dry_run_is_dropped_by_the_next(
    legacy_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    killed = ledger.start(
        legacy_2026, settings, "dry-run", on_copy.STEPS, generation="2026", inputs={}, accepted={}
    ).run_id
    there = databases(legacy_2026)
    legacy_2026.execute(f'create database "crm_rehearsal_{killed}" template template0')

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("enough")

    monkeypatch.setattr(dry_run, "run", fail)
    with pytest.raises(RuntimeError, match="enough"):
        try_on_copy(settings)
    assert databases(legacy_2026) == there


def test_a_carried_trigger_is_exercised_on_the_copy_only(legacy_2026: Connection, mapped: MakeSettings) -> None:
    legacy_2026.execute("create sequence public.won_calls")
    legacy_2026.execute(CARRIED.format(body="perform nextval('public.won_calls');"))
    settings = mapped(legacy_2026, triggers={"deal_won": "carry"})
    try_it(settings)
    with pytest.raises(admission.NoDryRun, match="without a copy") as refused:
        do_it(settings)
    assert refused.value.next == "crm-migrate dry-run --on-copy"
    assert unlocked(legacy_2026)

    report = try_on_copy(settings)
    assert report.verdict == "GO", report.reasons
    assert legacy_2026.execute("select is_called from public.won_calls").fetchone() == (False,)
    assert do_it(settings).steps[-1].state == "done"
    assert unlocked(legacy_2026)


def test_a_carried_trigger_that_fails_is_a_blocker(legacy_2026: Connection, mapped: MakeSettings) -> None:
    # legal on deals, whose stage is text; on opportunities `won` is no value of the enum
    legacy_2026.execute(CARRIED.format(body="if new.stage = 'won' then raise notice 'well done'; end if;"))
    settings = mapped(legacy_2026, triggers={"deal_won": "carry"})
    there = databases(legacy_2026)
    report = try_on_copy(settings)
    assert report.verdict == "NO-GO"
    blocker = next(found for found in report.findings if found.id == "triggers.carried_fails")
    assert blocker.severity == "blocker"
    assert "invalid input value for enum" in blocker.message
    assert "drop" in blocker.hint
    assert any("carried trigger" in reason for reason in report.reasons)
    assert databases(legacy_2026) == there
    with pytest.raises(admission.NoDryRun):
        do_it(settings)


def test_a_migration_that_fails_on_the_copy_speaks_of_the_copy(
    legacy_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(legacy_2026)
    there = databases(legacy_2026)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise apply.VerificationFailed("O3: 2 rows differ")

    try_it(settings)
    monkeypatch.setattr(apply, "run", fail)
    with pytest.raises(on_copy.CopySaysNo, match="on the copy") as refused:
        try_on_copy(settings)
    assert refused.value.exit_code == Exit.NO_GO
    assert refused.value.state == on_copy.UNTOUCHED
    assert not {"rollback", "unlock"} & set(refused.value.next.split())
    assert databases(legacy_2026) == there
    monkeypatch.undo()
    with pytest.raises(admission.NoDryRun, match="NO-GO"):
        do_it(settings)


def test_a_role_that_may_not_create_databases_uses_a_private_server(
    legacy_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(legacy_2026)
    there, servers = databases(legacy_2026), list[EmbeddedServer]()
    legacy_2026.execute(
        """
        create role crm_owner login in role anon, authenticated, service_role bypassrls;
        grant create on database %s to crm_owner;
        """.replace("%s", f'"{legacy_2026.info.dbname}"')
    )
    try:
        legacy_2026.execute(
            """
            grant pg_read_all_settings, pg_signal_backend to crm_owner;
            do $$
            declare item record;
            begin
                for item in select oid::regclass as name from pg_catalog.pg_class
                    where relnamespace in ('public'::regnamespace, 'auth'::regnamespace) and relkind in ('r', 'v', 'S')
                        and not exists (
                            select from pg_catalog.pg_depend where objid = pg_class.oid and deptype in ('a', 'i')
                        )
                loop
                    execute format('alter table %s owner to crm_owner', item.name);
                end loop;
            end $$;
            alter schema public owner to crm_owner;
            grant usage on schema auth, extensions to crm_owner with grant option;
            """
        )
        own = mapped(legacy_2026, dsn=make_conninfo(legacy_2026.info.dsn, user="crm_owner"))
        started = EmbeddedServer.start

        def start(self: EmbeddedServer) -> EmbeddedServer:
            servers.append(self)
            return started(self)

        monkeypatch.setattr(EmbeddedServer, "start", start)
        report = try_on_copy(own)
        assert report.verdict == "GO", report.reasons
        assert servers, "no private server was used"
        assert not any(server.is_running for server in servers)
        assert databases(legacy_2026) == there
        assert left_over(settings) == []
    finally:
        legacy_2026.execute("reassign owned by crm_owner to postgres; drop owned by crm_owner; drop role crm_owner")
