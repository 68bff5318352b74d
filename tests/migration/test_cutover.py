"""The cutover: everything of the installation goes over, or the rehearsal says what does not."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from crm_migrate import access, archive, control, cutover, database, fault_points, fingerprint, legacy, lock, preflight
from installation import Installation, built_templates, installation, modern, stock  # noqa: F401  # fixtures
from people import as_role


def codes(result: cutover.CutoverResult) -> set[str]:
    return {blocker.code for blocker in result.blockers}


def test_rehearsal_changes_nothing(installation: Installation) -> None:  # noqa: F811
    before = fingerprint.take(installation.connection)
    allowed = access.capture(installation.connection)
    result = installation.rehearse()
    assert result.blockers == []
    told = {warning.code: warning for warning in result.warnings}
    assert {*told} == {"functions.name_deals", "replication.changed"}
    assert told["functions.name_deals"].sample_keys == ("public.open_amount(bigint)",)
    assert 0 < result.seconds < 10
    assert fingerprint.compare(before, fingerprint.take(installation.connection)) == []
    assert access.capture(installation.connection) == allowed
    assert lock.owner(installation.connection) is None
    assert installation.value("select count(*) from crm_migration.saved_objects") == 0
    assert installation.value("select count(*) from crm_build.opportunities") > 0


def test_rehearsal_lists_every_object_that_cannot_be_made_again(modern: Installation) -> None:  # noqa: F811
    # a primary key lets a query select what it does not group by; a view has none
    for name in ("first", "second"):
        modern.execute(
            f"create view public.{name} as select deals.*, count(*) from public.deals"
            " inner join public.payouts on payouts.deal_id = deals.id group by deals.id"
        )
    modern.execute("create view public.third as select * from public.first")
    result = modern.rehearse()
    assert [blocker.sample_keys for blocker in result.blockers] == [
        ("public.first",),
        ("public.second",),
        ("public.third",),
    ]
    assert codes(result) == {"view.not_carried"}
    assert "must appear in the GROUP BY" in result.blockers[0].message


IN_THE_WAY = {
    "own table of that name": ("create table public.activities (id uuid primary key)", "names.taken", "rename"),
    "own view of that name": ("create view public.opportunities_summary as select 1 as one", "names.taken", "rename"),
    "own type of that name": ("create type public.priority_level as enum ('a')", "names.taken", "Rename the type"),
    "own function of that name": (
        "create function public.log_engagement() returns int language sql as 'select 1'",
        "names.taken",
        "Rename the function",
    ),
    "own column of another type": ("alter table public.companies add priority integer", "columns.taken", "Rename"),
    "rule about a namesake": (
        "alter table public.deals add column status text; create index own_status on public.deals (status)",
        "columns.taken",
        "Rename deals.status",
    ),
    "own trigger": (
        "create trigger mine before insert on public.deals for each row execute function public.note_won()",
        "triggers.undecided",
        "Decide",
    ),
    "rule": ("create rule mine as on delete to public.deals do also select 1", "deals.rule", "Remove it"),
    "child table": ("create table public.more_deals () inherits (public.deals)", "deals.inheritance", "Remove it"),
    "generated column": (
        "alter table public.deals add double bigint generated always as (amount * 2) stored",
        "deals.generated",
        "Remove it",
    ),
    "column of the deals' type": (
        "create table public.snapshots (id int, deal public.deals)",
        "dependants.other",
        "Drop",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_rehearsal_names_what_is_in_the_way(case: str, modern: Installation) -> None:  # noqa: F811
    statement, code, hint = IN_THE_WAY[case]
    modern.execute(statement)
    result = modern.rehearse()
    (found,) = [blocker for blocker in result.blockers if blocker.code == code]
    assert hint in found.hint
    locked = lock.acquire(modern.connection, modern.settings, run_id=modern.run_id)
    with pytest.raises(cutover.CutoverRefused) as refused:
        cutover.execute(modern.connection, modern.settings, modern.run_id, legacy.detect(modern.connection), locked)
    assert found.message in refused.value.what
    assert not cutover.is_done(modern.connection, modern.run_id)


def test_namesakes_on_deals_leave_the_new_columns_alone(modern: Installation) -> None:  # noqa: F811
    described = fingerprint.take(modern.connection, content=False)
    modern.execute(
        "alter table public.deals add column legacy_stage text not null default 'x', add column status text not null"
        " default 'open', add column next_action integer default 5, add column probability serial not null"
    )
    modern.execute("comment on column public.deals.status is 'Open or not.'")
    modern.execute("grant update (status) on public.deals to authenticated")
    assert modern.rehearse().blockers == []
    modern.cut_over()
    after = fingerprint.take(modern.connection, content=False).schema["column"]
    assert (after["opportunities.status"]["default"], after["opportunities.next_action"]["default"]) == (
        "'active'::public.opportunity_status",
        None,
    )
    assert "Open or not." not in (after["opportunities.status"]["comment"] or "")
    modern.execute("insert into public.deals (name, stage) values ('new', 'won')")
    with pytest.raises(psycopg.errors.NotNullViolation):
        modern.execute("update public.deals set status = null where name = 'new'")
    assert modern.execute(
        "select status, next_action, legacy_stage, probability > 0 from public.deals where name = 'new'"
    ) == [("open", 5, "x", True)]
    modern.roll_back(keep_changes=False)
    modern.execute(
        "alter table public.deals drop column legacy_stage, drop column status, drop column next_action,"
        " drop column probability"
    )
    assert fingerprint.compare(described, fingerprint.take(modern.connection, content=False)) == []


def test_rename_and_adoption_solve_collisions(modern: Installation) -> None:  # noqa: F811
    modern.execute("create table public.activities (id uuid primary key default gen_random_uuid(), what text)")
    modern.execute("create table public.opportunities (id bigint generated by default as identity primary key)")
    modern.execute("alter table public.companies add segment text default 'own'")
    modern.settings = dataclasses.replace(
        modern.settings, rename={"activities": "crm_activities", "opportunities": "crm opportunities"}
    )
    assert modern.rehearse().blockers == []
    modern.cut_over()
    assert modern.value("select count(*) from public.activities") == 0
    assert modern.value("select count(*) from public.crm_activities") == 150
    assert modern.value('select count(*) from public."crm opportunities"') == 150
    assert modern.value("select count(*) from public.companies where segment = 'own'") == 75
    modern.roll_back(keep_changes=False)
    assert modern.value("select count(*) from public.companies where segment = 'own'") == 75


def test_rehearsal_that_takes_too_long_is_stopped(modern: Installation) -> None:  # noqa: F811
    modern.settings = dataclasses.replace(modern.settings, rehearsal_max_seconds=0.05)
    result = modern.rehearse()
    assert codes(result) == {"rehearsal.too_long"}
    assert "--on-copy" in result.blockers[0].hint
    assert modern.value("select count(*) from public.deals") == 150


def test_cutover_waits_for_nobody(modern: Installation) -> None:  # noqa: F811
    modern.settings = dataclasses.replace(modern.settings, lock_timeout=1.0, rehearsal_lock_timeout=0.3)
    locked = lock.acquire(modern.connection, modern.settings, run_id=modern.run_id)
    found = legacy.detect(modern.connection)
    with database.connect(modern.settings) as other, other.transaction():
        other.execute("select count(*) from public.tasks")
        assert codes(modern.rehearse()) == {"rehearsal.locked"}
        with pytest.raises(cutover.CutoverBlocked) as blocked:
            cutover.execute(modern.connection, modern.settings, modern.run_id, found, locked)
        assert str(other.info.backend_pid) in blocked.value.why
    assert not cutover.is_done(modern.connection, modern.run_id)
    assert cutover.execute(modern.connection, modern.settings, modern.run_id, found, locked).seconds > 0


def test_what_belongs_to_deals_belongs_to_opportunities(installation: Installation) -> None:  # noqa: F811
    installation.cut_over()
    described = fingerprint.take(installation.connection, content=False).schema
    policy = described["policy"]["opportunities.Own rows"]
    assert policy["using"] == "((legacy_stage <> 'archived'::text) AND ((score)::integer >= 0))"
    assert policy["check"] == "((customer_organization_id IS NOT NULL) OR (amount > 0))"
    assert policy["comment"] == "Own policy."
    won = described["trigger"]["opportunities.deal_won"]["definition"]
    assert "new.legacy_stage = 'won'::text" in won
    assert "UPDATE OF legacy_stage, stage ON" in won, "whoever writes the enum changes the text"
    assert "opportunities.deal_quiet" not in described["trigger"], "the operator dropped it"
    assert ("opportunities.set_deal_sales_id_trigger" in described["trigger"]) == (installation.generation == "2026")
    assert {"opportunities.deals_score_below_ninety", "opportunities.deals_ticket_key"} <= {*described["constraint"]}
    assert {"opportunities.deals_score_idx", "opportunities.deals Odd"} <= {*described["index"]}
    score = described["column"]["opportunities.score"]
    assert (score["type"], score["default"], score["not_null"]) == ("public.score_value", "10", True)
    assert score["comment"] == "Own score."
    for key in (
        "opportunities.deals_territory_id_fkey",
        "payouts.payouts_deal_id_fkey",
        "reminders.reminders_ticket_fkey",
    ):
        assert described["constraint"][key]["validated"], key
    assert (
        "REFERENCES public.opportunities(id)" in described["constraint"]["payouts.payouts_deal_id_fkey"]["definition"]
    )
    assert described["publication_table"]["new_deals.opportunities"] == {
        "columns": ["amount", "estimated_close_date", "id", "legacy_stage"],
        "where": "(legacy_stage <> 'lost'::text)",
    }
    grants = {grant for grant in described["grant"] if " on opportunities" in grant}
    assert "UPDATE on opportunities.estimated_close_date to authenticated" in grants
    for privilege in ("INSERT", "UPDATE"):
        assert f"{privilege} on opportunities.legacy_stage to authenticated" in grants
        assert f"{privilege} on opportunities.stage to authenticated" in grants
    assert "INSERT on opportunities.customer_organization_id to authenticated" in grants
    assert "SELECT on opportunities to authenticated" in grants
    # who reads notes asks by these two, through the view of the old name, whether their opportunity is still there
    noticed = {"SELECT on opportunities.id to anon", "SELECT on opportunities.deleted_at to anon"}
    assert {grant for grant in grants if grant.endswith("to anon")} == noticed
    assert described["relation"]["opportunities"]["row_security"]


def test_who_might_write_the_stage_may_write_both(modern: Installation) -> None:  # noqa: F811
    modern.cut_over()
    modern.execute("alter table public.opportunities disable trigger deal_won")
    with as_role(modern.connection):
        modern.execute("update public.opportunities set stage = 'closed_won' where id = 1")
        modern.execute("update public.opportunities set legacy_stage = 'lost' where id = 2")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            modern.execute("update public.opportunities set amount = 1 where id = 1")
    assert modern.execute(
        "select stage::text, legacy_stage from public.opportunities where id in (1, 2) order by id"
    ) == [
        ("closed_won", "won"),
        ("closed_lost", "lost"),
    ]


def test_old_names_show_what_the_tables_showed(installation: Installation) -> None:  # noqa: F811
    installation.execute("create schema kept; create table kept.notes as table NOTES")
    views = ["companies_summary", "contacts_summary", "deals_summary", "deals_by_stage"]
    views += ["activity_log"] if installation.generation == "2026" else []
    for view in views:
        installation.execute(f"create table kept.{view} as select * from public.{view}")
    installation.cut_over()
    assert (
        installation.value(
            "select count(*) from public.deals full join crm_archive.deals as before using (id)"
            " where deals::text is distinct from before::text"
        )
        == 0
    )
    assert (
        installation.value(
            "select count(*) from NOTES as now full join kept.notes as before using (id)"
            " where now::text is distinct from before::text"
        )
        == 0
    )
    for view in views:
        listed = installation.value(
            "select string_agg(quote_ident(attname) || '::text', ', ' order by attnum) from pg_catalog.pg_attribute"
            " where attrelid = ('kept.' || %s)::regclass and attnum > 0"
            # whole rows of companies and contacts, which have more columns now
            " and attname not in ('company', 'contact')",
            view,
        )
        different = (
            f"(select {listed} from public.{view} except all select {listed} from kept.{view})"
            f" union all (select {listed} from kept.{view} except all select {listed} from public.{view})"
        )
        assert installation.execute(different) == [], view
    added = installation.execute(
        "select attname from pg_catalog.pg_attribute where attrelid = 'public.companies_summary'::regclass"
        " order by attnum desc limit 1"
    )
    assert added == [("nb_opportunities",)]
    assert installation.value("select count(*) from reporting.pipeline") == 150


def test_rebuilt_views_read_the_new_tables(installation: Installation) -> None:  # noqa: F811
    installation.cut_over()
    installation.execute("update public.opportunities set amount = 123456 where id = 1")
    installation.execute("update public.opportunities set deleted_at = now() where id = 2")
    installation.execute("update public.companies set deleted_at = now() where id = 3")
    for view in ("deals", "deals_summary"):
        assert installation.value(f"select amount from public.{view} where id = 1") == 123456
        assert installation.execute(f"select from public.{view} where id = 2") == []
    assert installation.value("select count(*) from reporting.pipeline") == 149
    assert installation.execute("select from public.companies_summary where id = 3") == []
    assert installation.execute("select from public.companies_with_deals where id = 3") == []


@pytest.mark.fault(number=26)
def test_bulk_updates_let_no_trigger_of_the_application_fire(stock: Installation) -> None:  # noqa: F811
    stock.execute("alter table public.companies enable always trigger company_saved")
    stock.execute('alter table public.contacts enable replica trigger "20_contact_saved"')
    stock.execute("alter table public.contacts disable trigger set_contact_sales_id_trigger")
    state = (
        "select tgname::text, tgenabled::text from pg_catalog.pg_trigger where not tgisinternal"
        " and tgrelid in ('public.companies'::regclass, 'public.contacts'::regclass)"
        " and tgfoid::regproc::text ~ 'handle_|lowercase_|set_sales_id' order by 1"
    )
    called = "select count(*) from auth.callouts"
    before, states = stock.value(called), stock.execute(state)
    assert {enabled for _, enabled in states} == {"O", "A", "R", "D"}

    stock.cut_over()
    classified = stock.value("select count(distinct organization_type) from public.companies")
    assert classified > 1, "no company was written: nothing could have fired"
    assert stock.value(called) == before
    assert stock.execute(state) == states
    stock.execute("update public.companies set name = name where id = 1")
    assert stock.value(called) == before + 1, "the triggers do not fire any more"

    stock.roll_back(keep_changes=True)
    assert stock.value(called) == before + 1
    assert stock.execute(state) == states


def test_disabled_triggers_stay_disabled(modern: Installation) -> None:  # noqa: F811
    modern.cut_over()
    triggers = fingerprint.take(modern.connection, content=False).schema["trigger"]
    assert triggers["companies.company_quiet"]["enabled"] == "D"
    assert triggers["companies.company_saved"]["enabled"] == "O"
    assert not any(name.endswith("crm_migrate_fence") for name in triggers)


def test_fence_stands_on_every_new_table_until_the_unlock(stock: Installation) -> None:  # noqa: F811
    locked = lock.acquire(stock.connection, stock.settings, run_id=stock.run_id)
    archive.copy(stock.connection, legacy.detect(stock.connection))
    cutover.execute(stock.connection, stock.settings, stock.run_id, legacy.detect(stock.connection), locked)
    for table in (*preflight.tables(), "opportunity_notes", "companies"):
        with pytest.raises(psycopg.Error) as refused:
            stock.execute(f"delete from public.{table}")
        assert refused.value.sqlstate == "PT503", table
    with as_role(stock.connection), pytest.raises(psycopg.Error) as refused:
        stock.execute("update public.deals set name = 'x' where id = 1")
    control.end_build(stock.connection)
    lock.release(stock.connection, stock.settings)
    with as_role(stock.connection):
        stock.execute("update public.deals set name = 'x' where id = 1")
        stock.execute("update public.opportunities set name = 'y' where id = 1")
        stock.execute("update public.opportunity_notes set text = 'z' where id = 1")
    assert stock.value("select name from public.deals where id = 1") == "y"


def test_journal_knows_every_changed_row(stock: Installation) -> None:  # noqa: F811
    stock.cut_over()
    assert stock.value("select count(*) from crm_migration.changes") == 0
    with as_role(stock.connection):
        stock.execute("update public.deals set name = 'x' where id in (1, 2)")
        stock.execute("delete from public.contacts where id = 5")
        stock.execute("insert into public.tags (name, color) values ('t', 'red')")
    changes = set(
        stock.execute("select table_name, key, operation, role_name from crm_migration.changes where key <> '0'")
    )
    assert {
        ("opportunities", "1", "update", "authenticated"),
        ("opportunities", "2", "update", "authenticated"),
    } <= changes
    assert ("contacts", "5", "delete", "authenticated") in changes
    assert ("tags", "7", "insert", "authenticated") in changes
    assert any(table == "contact_notes" and operation == "delete" for table, _, operation, _ in changes), "cascades"
    with as_role(stock.connection), pytest.raises(psycopg.errors.InsufficientPrivilege):
        stock.execute("select count(*) from crm_migration.changes")


def test_opportunities_continue_the_numbers_of_the_deals(stock: Installation) -> None:  # noqa: F811
    stock.cut_over()
    stock.execute("insert into public.deals (name, stage) values ('next', 'won')")
    assert stock.execute("select id, stage::text, legacy_stage from public.opportunities order by id desc limit 1") == [
        (151, "closed_won", "won")
    ]


@pytest.mark.parametrize("point", ["cutover.saved", "cutover.before-commit", "cutover.committed"])
def test_killed_cutover_happened_whole_or_not_at_all(point: str, modern: Installation) -> None:  # noqa: F811
    before = fingerprint.take(modern.connection)
    program = (
        "import pathlib; from crm_migrate import archive, cutover, database, legacy, lock; "
        "from crm_migrate.settings import Settings; "
        f"settings = Settings(dsn={modern.settings.dsn!r}, work_dir=pathlib.Path({str(modern.settings.work_dir)!r}),"
        f" triggers={modern.settings.triggers!r}); connection = database.connect(settings); "
        "locked = lock.acquire(connection, settings); found = legacy.detect(connection); "
        f"archive.copy(connection, found); cutover.execute(connection, settings, {modern.run_id!r}, found, locked)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), fault_points.KILL_AT: point},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert f"killed at {point}".encode() in killed.stderr
    done: Any = cutover.is_done(modern.connection, modern.run_id)
    assert done == (point == "cutover.committed")
    locked = lock.stored_state(modern.connection)
    assert locked is not None
    if not done:
        assert fingerprint.compare(before, fingerprint.take(modern.connection, locked=locked)) == []
        found = legacy.detect(modern.connection)
        cutover.execute(modern.connection, modern.settings, modern.run_id, found, locked)
    assert cutover.is_done(modern.connection, modern.run_id)
    phases = modern.execute("select phase, rows from crm_migration.migration_history order by phase")
    assert [phase for phase, _ in phases] == ["1.1", "1.2", "1.3", "1.4", "1.5"]
    assert phases[0][1] == 150


def test_unmapped_stage_written_later_is_what_the_setting_says(stock: Installation) -> None:  # noqa: F811
    stock.settings = dataclasses.replace(stock.settings, fallback_stage="nurturing")
    stock.cut_over()
    key = stock.value("insert into public.deals (name, stage, \"index\") values ('late', 'on ice', 0) returning id")
    written = stock.execute("select stage::text, legacy_stage from public.opportunities where id = %s", key)
    assert written == [("nurturing", "on ice")]
    # what the mapping knows is not the fallback's, and a word may become unknown later
    stock.execute("update public.deals set stage = 'won' where id = %s", key)
    assert stock.value("select stage::text from public.opportunities where id = %s", key) == "closed_won"
    stock.execute("update public.deals set stage = 'thawing' where id = %s", key)
    assert stock.value("select stage::text from public.opportunities where id = %s", key) == "nurturing"
