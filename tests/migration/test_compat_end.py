"""The end of the old names: who still uses them, and what is left when they are gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from conftest import DEBIAN_15
from crm_migrate import compat, compat_usage, control, ledger, verification
from crm_migrate import database as db
from crm_migrate.errors import Exit, WrongState
from crm_migrate.legacy import LegacySchema
from crm_migrate.observer import Silent
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import compat as step
from crm_migrate.steps import rollback
from people import add_company, add_contact, as_role, value
from running import program
from support import fresh_database

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def make_layer(connection: Connection, settings: Settings) -> None:
    """The layer as the cutover leaves it, over a table that has what these tests need."""
    control.install(connection, settings)
    connection.execute("create schema crm_compat")
    db.run_sql_folder(connection, "compat")
    connection.execute("create table public.opportunities (id integer primary key, name text)")
    connection.execute("create view public.deals as select id, name from public.opportunities")
    connection.execute(
        "insert into crm_compat.promises (relation, successor, until)"
        " values ('deals', 'opportunities', clock_timestamp() + interval '20 days 1 hour')"
    )
    connection.execute(
        "insert into crm_migration.runs (run_id, kind, state, operator, host, pid, cutover_at, rollback_until) values"
        " ('r1', 'apply', 'completed', 'ann', 'here', 1, now() - interval '11 days', now() - interval '9 days')"
    )


@pytest.fixture
def layer(database: Connection, make_settings: MakeSettings) -> Connection:
    make_layer(database, make_settings(database))
    return database


def used(connection: Connection, role: str, days_ago: float, pid: int = 1, writes: int = 3) -> None:
    connection.execute(
        "insert into crm_compat.usage (role_name, day, backend_pid, relation, operation, writes, last_at)"
        " select %s, (at at time zone 'UTC')::date, %s, 'deals', 'update', %s, at"
        " from (select clock_timestamp() - %s as at) as used",
        [role, pid, writes, timedelta(days=days_ago)],
    )


def test_status_says_who_wrote_on_which_day_and_that_reads_are_unknown(
    layer: Connection, make_settings: MakeSettings
) -> None:
    used(layer, "authenticated", 10, pid=1)
    used(layer, "authenticated", 10, pid=2, writes=4)
    used(layer, "etl", 1)
    found = step.status(layer, make_settings(layer))
    assert [(usage.role, usage.writes) for usage in found.usage] == [("etl", 3), ("authenticated", 7)]
    assert (found.days_left, found.expired) == (20, False)
    assert (found.reads.counted, found.reads.by_role) == (False, ())
    assert "reads are unknown" in found.reads.why
    assert len(found.in_use) == 1, "ten days ago is not lately"
    assert found.in_use[0].startswith("etl wrote through deals on ")


def test_what_is_in_use_is_dropped_with_a_reason_only_and_once(layer: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(layer)
    used(layer, "etl", 6)
    layer.execute("create function public.report() returns bigint language sql as 'select count(*) from public.deals'")
    with pytest.raises(step.StillInUse, match=r"etl wrote through deals.*the function public.report\(\)") as refused:
        step.drop(layer, settings, although=None)
    assert refused.value.exit_code == Exit.WRONG_STATE
    assert db.exists(layer, "public.deals")
    made = step.drop(layer, settings, although="nobody answers")
    assert (made.dropped, made.hidden, len(made.although)) == (["deals"], [], 2)
    assert not db.exists(layer, "public.deals")
    assert compat.dropped(layer) == {"deals"}
    assert value(layer, "select reason from crm_compat.promises") == "nobody answers"
    again = step.drop(layer, settings, although=None)
    assert (again.dropped, again.already_gone) == ([], ["deals"])
    assert step.status(layer, settings).in_use == []


def test_who_was_quiet_long_enough_needs_no_reason(layer: Connection, make_settings: MakeSettings) -> None:
    used(layer, "etl", 8)
    assert step.drop(layer, make_settings(layer), although=None).dropped == ["deals"]


def test_old_names_stay_as_long_as_the_way_back(layer: Connection, make_settings: MakeSettings) -> None:
    layer.execute("update crm_migration.runs set rollback_until = now() + interval '1 hour'")
    with pytest.raises(step.RollbackStillOpen) as refused:
        step.drop(layer, make_settings(layer), although="now")
    assert refused.value.exit_code == Exit.WINDOW
    assert db.exists(layer, "public.deals")


def test_view_that_other_views_read_leaves_the_sight_of_the_api_only(
    layer: Connection, make_settings: MakeSettings
) -> None:
    layer.execute("insert into public.opportunities values (1, 'one')")
    layer.execute("create view public.report as select count(*) as deals from public.deals")
    assert step.drop(layer, make_settings(layer), although=None).hidden == ["deals"]
    assert not db.exists(layer, "public.deals")
    assert value(layer, "select deals from public.report") == 1


def test_function_that_returns_rows_of_a_view_is_named_and_nothing_is_changed(
    layer: Connection, make_settings: MakeSettings
) -> None:
    layer.execute("create function public.all_rows() returns setof public.deals language sql as 'select 1, null'")
    with pytest.raises(compat.StillReferred) as refused:
        step.drop(layer, make_settings(layer), although=None)
    assert "all_rows" in refused.value.why
    assert db.exists(layer, "public.deals")
    assert compat.dropped(layer) == frozenset()


def test_open_transaction_on_a_view_is_not_waited_for(layer: Connection, make_settings: MakeSettings) -> None:
    with psycopg.connect(layer.info.dsn) as reader:
        reader.execute("select from public.deals")
        with pytest.raises(compat.DropBlocked):
            step.drop(layer, make_settings(layer, lock_timeout=0.5), although=None)
    assert db.exists(layer, "public.deals")
    assert step.drop(layer, make_settings(layer), although=None).dropped == ["deals"]


def test_database_that_was_not_migrated_has_no_layer(database: Connection, make_settings: MakeSettings) -> None:
    with pytest.raises(WrongState, match="not migrated"):
        step.status(database, make_settings(database))


@pytest.fixture(scope="module")
def counting_server() -> Iterator[EmbeddedServer]:
    """A server that keeps statistics of statements."""
    if not (DEBIAN_15 / "postgres").exists():
        pytest.fail("PostgreSQL 15 is not installed (on Debian: apt-get install postgresql-15)")
    with EmbeddedServer(binaries=DEBIAN_15, settings={"shared_preload_libraries": "pg_stat_statements"}) as server:
        yield server


def test_reads_are_counted_where_the_server_can(counting_server: EmbeddedServer, make_settings: MakeSettings) -> None:
    with fresh_database(counting_server) as connection:
        settings = make_settings(connection)
        make_layer(connection, settings)
        connection.execute("create extension pg_stat_statements schema public")
        connection.execute("create role old_report login")
        try:
            connection.execute("grant select on public.deals, public.opportunities to old_report")
            connection.execute("select count(*) from public.deals")
            connection.execute("set role old_report")
            for name in ("public.deals", '"public"."deals"', "public.opportunities"):
                connection.execute(f"select count(*) from {name}")
            connection.execute("reset role")
            found = step.status(connection, settings)
            assert found.reads.counted
            assert found.reads.since is not None
            assert [(read.role, read.relation, read.calls) for read in found.reads.by_role] == [
                ("old_report", "deals", 2)
            ]
            assert found.in_use[0].startswith("old_report read deals 2 times since ")
            connection.execute("set role old_report")
            hidden = compat_usage.reads(connection, ["deals"])
            connection.execute("reset role")
            assert not hidden.counted
            assert "pg_read_all_stats" in hidden.why
        finally:
            connection.execute("reset role")
            connection.execute("drop owned by old_report")
            connection.execute("drop role old_report")


def test_documents_of_the_commands(layer: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(layer)
    used(layer, "etl", 1)
    confirmed = ("--confirm-database", layer.info.dbname)

    def document(*arguments: str, code: int = 0) -> dict[str, Any]:
        run = program(settings, "compat", *arguments, "--json")
        stdout, said = run.communicate(timeout=100)
        assert run.returncode == code, said + stdout
        found: dict[str, Any] = json.loads(stdout)
        return found

    found = document("status")
    assert found["schema"] == "crm-migrate/compat status/1"
    assert set(found) >= {"until", "days_left", "expired", "views", "usage", "reads", "functions", "in_use"}
    assert (found["run_id"], found["usage"][0]["role"]) == ("r1", "etl")
    assert "--confirm-database" in document("drop", code=Exit.USAGE)["error"]["next"]
    assert "--although-in-use" in document("drop", *confirmed, code=Exit.WRONG_STATE)["error"]["next"]
    assert document("drop", *confirmed, "--although-in-use", code=Exit.USAGE)["error"]["next"] == "--reason TEXT"
    found = document("drop", *confirmed, "--although-in-use", "--reason", "enough")
    assert (found["dropped"], found["hidden"], len(found["although"])) == (["deals"], [], 1)
    shown = program(settings, "compat", "status").communicate(timeout=100)[0]
    assert "dropped on" in shown


def test_without_the_old_names_everything_is_still_checked_in_step_and_can_go_back(
    migrated_2026: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(migrated_2026)
    run = ledger.latest(migrated_2026, "apply")
    assert run is not None
    legacy = LegacySchema.from_json(run.summary["legacy"])
    migrated_2026.execute("update crm_migration.runs set rollback_until = now() - interval '1 hour'")
    with db.connect(settings) as connection:
        made = step.drop(connection, settings, although="the front end is new")
    assert sorted(made.dropped + made.hidden) == ["deal_notes", "deals"]
    for name in ("deals", "deal_notes"):
        assert not db.exists(migrated_2026, f"public.{name}")
    with as_role(migrated_2026):
        for view in ("companies_summary", "contacts_summary", "activity_log", "init_state"):
            assert value(migrated_2026, f"select count(*) from public.{view}") > 0

    def verify() -> verification.Verification:
        return verification.run(migrated_2026, settings, run.run_id, legacy, sample=20, seed=1)

    found = verify()
    assert found.ok, found
    assert {record.entity for record in found.samples.records} >= {"deals", "deal_notes"}
    # the check still sees: behind the journal's back a row is changed, and put back
    change = (
        "update public.opportunities set amount = amount %s 1 where id = (select min(id) from public.opportunities)"
    )
    migrated_2026.execute("set session_replication_role = replica")
    migrated_2026.execute(change.replace("%s", "+"))
    assert {oracle.id for oracle in verify().oracles if oracle.ok is False} >= {"O3", "O4"}
    migrated_2026.execute(change.replace("%s", "-"))
    migrated_2026.execute("reset session_replication_role")

    with as_role(migrated_2026):
        company = add_company(migrated_2026, "in step")
        contact = add_contact(migrated_2026, "Ann", company)
        linked = (
            "select organization_id from public.contact_organizations where is_primary_organization and contact_id = %s"
        )
        assert value(migrated_2026, linked, contact) == company
        deal = value(
            migrated_2026,
            "insert into public.opportunities (name, customer_organization_id, stage) values ('new', %s, 'closed_won')"
            " returning id",
            company,
        )
        participants = (
            "select count(*) from public.opportunity_participants where opportunity_id = %s and role = 'customer'"
        )
        assert value(migrated_2026, participants, deal) == 1
        assert value(migrated_2026, "select legacy_stage from public.opportunities where id = %s", deal) == "won"
    with db.connect(settings) as connection:
        rollback.run(connection, settings, Silent(), force_reason="a test of the way back")
    assert (
        value(migrated_2026, "select relkind::text from pg_catalog.pg_class where oid = 'public.deals'::regclass")
        == "r"
    )
    assert value(migrated_2026, "select stage from public.deals where id = %s", deal) == "won"
