"""Checks that were asked before the lock: those about what nobody wrote since are not asked again, all others are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import control, gate_checks, gates, ledger, standing, transform
from crm_migrate import database as db
from crm_migrate.errors import Interrupted
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import admission, apply, stage, verify
from running import unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

RUN = "20261121-000000-test"
TABLES = {f'"public"."{name}"' for name in ("companies", "contacts", "deals", "deal_notes", "contact_notes", "tasks")}
REFERRED = {'"public"."sales"', '"public"."tags"'}


@pytest.fixture
def sourced(legacy_2026: Connection, mapped: MakeSettings) -> tuple[Connection, Settings]:
    """A legacy CRM with the views and mappings that the source gate reads."""
    settings = mapped(legacy_2026)
    control.install(legacy_2026, settings)
    control.begin_build(legacy_2026, RUN, settings.batch_size)
    transform.build(settings, RUN, "sources_only")
    return legacy_2026, settings


def test_the_planner_tells_what_each_check_reads(sourced: tuple[Connection, Settings]) -> None:
    crm, settings = sourced
    reads = standing.read_by(crm, settings, "source")
    assert set(reads) == {check.code for check in gate_checks.read("source")}
    assert reads["deals.dangling_contact"] == frozenset({'"public"."deals"', '"public"."contacts"'})
    assert reads["deals.unmapped_stage"] == frozenset({'"public"."deals"', '"crm_build"."stage_mapping"'})
    assert reads["notes.without_text"] == frozenset({'"public"."deal_notes"', '"public"."contact_notes"'})
    assert None not in reads.values()
    # each depends on a table of its own entity, at least
    entity = {check.code: check.entity.removesuffix("s") for check in gate_checks.read("source")}
    alone = {code for code, tables in reads.items() if not any(entity[code] in table for table in tables or ())}
    # of a column that cannot be null the planner knows it
    assert alone == {"tasks.without_contact"}

    # a check stands when nothing that it reads was written
    assert standing.standing(reads, TABLES | REFERRED) == set(reads)
    assert standing.standing(reads, set()) == {code for code, tables in reads.items() if not tables}
    without_contacts = standing.standing(reads, (TABLES | REFERRED) - {'"public"."contacts"'})
    assert "deals.dangling_contact" not in without_contacts
    assert "contacts.blank_name" not in without_contacts
    assert "deals.negative_amount" in without_contacts
    # the mappings cannot change in a run
    assert "deals.unmapped_stage" in without_contacts


def test_of_what_a_function_reads_nothing_is_known(legacy_2026: Connection) -> None:
    counts = "returns bigint language plpgsql stable as $$ begin return (select count(*) from public.contacts); end $$"
    legacy_2026.execute(
        f"""
        create schema "Odd";
        create function public.of_something(id bigint) {counts};
        create function "Odd".of_something(id bigint) {counts};
        create view public.seen as select id from public.deals where public.of_something(id) > 0
        """.encode()
    )
    for query in (
        "select public.of_something(id)::text as row_key from public.deals",
        "select id::text as row_key from public.deals where public.of_something(id) = 1",
        "select found::text as row_key from public.of_something(1) as found",
        'select "Odd".of_something(id)::text as row_key from public.deals',
        "select id::text as row_key from public.seen",
    ):
        assert standing._tables_of(legacy_2026, query) is None, query
    known = "select id::text as row_key from public.deals where name <> 'public.of_something(1)'"
    assert standing._tables_of(legacy_2026, known) == frozenset({'"public"."deals"'})


def test_what_stands_is_told_again_and_not_asked(sourced: tuple[Connection, Settings]) -> None:
    crm, settings = sourced
    before = gates.run(settings, crm, "source", RUN)
    rows = "select count(*) from crm_migration.finding_rows where run_id = %s"
    named = db.scalar(crm, rows, [RUN])
    crm.execute("set session_replication_role = replica")
    crm.execute("update public.deals set amount = -1; update public.contacts set first_name = null, last_name = null")
    codes = {check.code for check in gate_checks.read("source")}

    again = gates.run(settings, crm, "source", RUN, standing=codes)
    assert again == before
    assert db.scalar(crm, rows, [RUN]) == named

    asked = gates.run(settings, crm, "source", RUN, standing=codes - {"deals.negative_amount"})
    counted = {finding.code: finding.rows for finding in asked.findings}
    assert counted["deals.negative_amount"] == db.scalar(crm, "select count(*) from public.deals")
    assert counted.get("contacts.blank_name") == {one.code: one.rows for one in before.findings}.get(
        "contacts.blank_name"
    )


class Meanwhile(Silent):
    """Somebody who works when a step is done."""

    def __init__(self, crm: Connection, **statements: str) -> None:
        self.crm, self.statements = crm, statements

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        if name in self.statements:
            self.crm.execute(self.statements[name].encode())


def checks_of(crm: Connection, run_id: str, step: str) -> Any:
    """What a step wrote down of its checks."""
    return next(one.detail["checks"] for one in ledger.steps(crm, run_id) if one.name == step)


def found(crm: Connection, run_id: str, code: str) -> set[str]:
    """The keys of a finding."""
    query = "select row_key from crm_migration.finding_rows where run_id = %s and code = %s"
    return {row[0] for row in crm.execute(query, [run_id, code])}


def go(settings: Settings, observer: Silent) -> str:
    """Apply on a connection of its own; returns the run's id."""
    with db.connect(settings) as connection:
        return apply.run(connection, settings, observer).run_id


def test_on_a_quiet_evening_all_stands_but_what_another_process_asked(
    kept_2026: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(kept_2026)

    class Killed(Silent):
        def step_done(self, name: str, seconds: float, rows: int | None) -> None:
            if name == "source_gate":
                raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        go(settings, Killed())
    late = db.scalar(
        kept_2026,
        "update public.deals set contact_ids = '{}'"
        " where id = (select max(id) from public.deals where contact_ids <> '{}') returning id::text",
    )
    run_id = go(settings, Silent())
    gate = next(one for one in ledger.steps(kept_2026, run_id) if one.name == "source_gate")
    assert gate.attempts == 2
    assert late in found(kept_2026, run_id, "deals.without_contact")
    all_of_them = len(gate_checks.read("source"))
    under = checks_of(kept_2026, run_id, "gates")
    assert gate.detail["checks"] == {"expected": all_of_them, "evaluated": all_of_them, "errored": 0}
    assert under["source"] == {**gate.detail["checks"], "standing": all_of_them}
    assert "standing" not in under["target"]
    assert verify.run(kept_2026, settings).ok


def test_who_works_until_the_lock_is_seen(kept_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(kept_2026)
    # a deal that the gate sees: it came after the base, and goes before the lock
    come = (
        "insert into public.deals (name, stage, contact_ids, created_at, updated_at, index)"
        " values ('late', 'won', '{}', now(), now(), 0)"
    )
    leave = (
        "delete from public.deals where name = 'late';"
        " update public.contacts set company_id = null, title = 'late'"
        " where id = (select max(id) from public.contacts where company_id is not null)"
    )
    run_id = go(settings, Meanwhile(kept_2026, base=come, source_gate=leave))
    changes = next(one for one in ledger.steps(kept_2026, run_id) if one.name == "changes")
    assert changes.detail["changed"] == {"contacts": 1}
    there = kept_2026.execute("select id::text from public.deals where coalesce(cardinality(contact_ids), 0) = 0")
    assert found(kept_2026, run_id, "deals.without_contact") == {row[0] for row in there}
    late = db.scalar(kept_2026, "select id::text from public.contacts where title = 'late'")
    assert late in found(kept_2026, run_id, "contacts.without_company")
    under = checks_of(kept_2026, run_id, "gates")["source"]
    assert 0 < under["standing"] < under["expected"] == under["evaluated"]
    assert verify.run(kept_2026, settings).ok


def test_who_spoils_it_after_the_checks_is_heard_under_the_lock(kept_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(kept_2026)
    spoil = "update public.tasks set type = 'unheard of'"
    with pytest.raises(apply.GateSaysNo, match="Under the lock") as no:
        go(settings, Meanwhile(kept_2026, source_gate=spoil))
    assert "tasks" in no.value.what
    assert no.value.state == stage.UNLOCKED
    assert unlocked(kept_2026)


def test_a_no_before_the_lock_locks_nobody_out(kept_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(kept_2026)
    kept_2026.execute("update public.tasks set type = 'unheard of'")
    with pytest.raises(apply.GateSaysNo, match="Before the lock") as no:
        go(settings, Silent())
    assert no.value.state == stage.OPEN
    run = ledger.latest(kept_2026, "apply")
    assert run is not None
    assert (run.state, run.locked_at) == ("failed", None)
    # what it would go on with is gone after another dry run
    assert not admission.is_out_of_date(kept_2026, run)
    kept_2026.execute(
        "insert into crm_migration.runs select newer.* from crm_migration.runs cross join lateral"
        " jsonb_populate_record(runs, jsonb_build_object('run_id', runs.run_id || '-newer', 'started_at', now()))"
        " as newer"
        " where runs.run_id = %s",
        [run.dry_run_id],
    )
    assert admission.is_out_of_date(kept_2026, run)

    begun: list[str] = []

    class Stopped(Silent):
        def run_started(self, run_id: str, kind: str, resumed: bool) -> None:
            begun.append(run_id)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(settings, Stopped())
    assert begun != [run.run_id]
