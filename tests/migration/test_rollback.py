"""The rollback: the legacy schema as it was, and nothing of what people did is lost."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import database, fault_points, fingerprint, lock, put_back, rollback
from installation import Installation, build, built_templates, installation, modern, stock  # noqa: F401  # fixtures

WORK_OF_PEOPLE = """
insert into public.deals (name, company_id, stage, amount, score) values ('new one', 1, 'won', 7, 5);
update public.deals set stage = 'lost', amount = 99 where id = 3;
update public.deals set archived_at = '2026-01-01' where id = 4;
delete from public.deals where id = 6;
update public.opportunities set deleted_at = now() where id in (9, 12);
update public.opportunities set stage = 'negotiation', status = 'stalled', next_action = 'call' where id = 15;
delete from public.companies where id = 5;
update public.companies set deleted_at = now() where id = 7;
update public.companies set segment = 'big', name = 'Renamed' where id = 8;
insert into public.companies (name) values ('Brand new');
delete from public.contacts where id = 11;
update public.contacts set deleted_at = now() where id = 12;
update public.contacts set department = E'R&D \\\\ "x"\\nnext' where id = 13;
insert into NOTES (deal_id, text) values (3, 'a note');
delete from public.opportunity_notes where id = 2;
insert into public.payouts (deal_id, amount) values (3, 5);
insert into public.tags (name, color) values ('t', 'red');
insert into public.products (principal_organization_id, name)
select id, 'Gadget' from public.companies where is_principal limit 1;
"""


def work(installed: Installation) -> None:
    # one statement at a time: a simple query of several would be one transaction
    for line in WORK_OF_PEOPLE.split(";\n"):
        if line.strip():
            installed.execute(line)


def lines(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rollback_of_untouched_tables_is_exact(installation: Installation) -> None:  # noqa: F811
    before = fingerprint.take(installation.connection)
    installation.cut_over()
    assert fingerprint.compare(before, fingerprint.take(installation.connection)) != [], "there was no cutover"
    result = installation.roll_back(keep_changes=True)
    assert result.exported is None
    assert fingerprint.compare(before, fingerprint.take(installation.connection)) == []


def test_rollback_that_discards_changes_is_exact(installation: Installation) -> None:  # noqa: F811
    before = fingerprint.take(installation.connection)
    installation.cut_over()
    work(installation)
    result = installation.roll_back(keep_changes=False)
    assert fingerprint.compare(before, fingerprint.take(installation.connection)) == []
    exported = lines(result.exported)
    assert {"opportunities", "companies", "contacts", "products", "tags"} <= {line["table"] for line in exported}
    assert put_back.waiting(installation.connection) == {}, "discarded is discarded"


def test_rollback_carries_over_what_people_did(installation: Installation) -> None:  # noqa: F811
    before = fingerprint.take(installation.connection)
    installation.cut_over()
    work(installation)
    shown = installation.execute(
        "select id, deals::text from public.deals where company_id is distinct from 7 order by id"
    )
    result = installation.roll_back(keep_changes=True)
    kinds = {item.kind for item in fingerprint.compare(before, fingerprint.take(installation.connection))}
    assert kinds == {"content", "sequence_value"}

    assert installation.execute("select id, deals::text from public.deals order by id") == shown
    assert installation.execute("select stage, amount from public.deals where id in (3, 151) order by id") == [
        ("lost", 99),
        ("won", 7),
    ]
    assert installation.value("select stage from public.deals where id = 15") == "in-negociation"
    assert installation.execute("select from public.deals where id in (6, 9, 12)") == []
    assert installation.execute("select from NOTES where deal_id in (9, 12)") == [], "a deal goes with its notes"
    assert installation.execute("select from public.payouts where deal_id in (9, 12)") == []
    assert installation.execute("select from public.companies where id in (5, 7)") == []
    assert installation.execute("select from public.contacts where company_id = 7 or id in (11, 12)") == []
    assert installation.value("select name from public.companies where id = 8") == "Renamed"
    assert installation.value("select count(*) from NOTES where deal_id = 3 and text = 'a note'") == 1
    assert installation.value("select count(*) from public.payouts where deal_id = 3 and amount = 5") == 1
    installation.execute("insert into public.deals (name, stage) values ('after', 'won')")
    assert installation.value("select max(id) from public.deals") == 152

    assert result.carried_over["deals"]["inserted"] == 1
    assert result.carried_over["deals"]["deleted"] >= 3
    assert result.carried_over["companies"] == {"inserted": 1, "updated": 2, "deleted": 2}


def test_what_the_legacy_shape_cannot_hold_is_exported(modern: Installation) -> None:  # noqa: F811
    modern.cut_over()
    work(modern)
    modern.execute("create view public.of_people as select id, status from public.opportunities")
    result = modern.roll_back(keep_changes=True)
    path = result.exported
    exported = lines(path)
    assert result.dropped_objects == ["view public.of_people"]
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rows = {(line["table"], line["row"]["id"]): line["row"] for line in exported if "row" in line}
    assert rows["contacts", 13]["department"] == 'R&D \\ "x"\nnext'
    assert rows["companies", 8]["segment"] == "big"
    assert rows["opportunities", 15]["status"] == "stalled"
    assert rows["products", 1]["name"] == "Gadget"
    (gone,) = (
        line for line in exported if line.get("deleted") and (line["table"], line["key"]) == ("opportunities", "6")
    )
    assert gone["before"]["id"] == 6, "what was deleted is kept, too"
    assert result.exported_rows["products"] == {"inserted": 1}
    assert result.exported_rows["opportunities"]["deleted"] >= 1
    assert any(line.get("identity") == "public.of_people" and "status" in line["definition"] for line in exported)


def test_start_rollback_start_rollback(modern: Installation) -> None:  # noqa: F811
    before = fingerprint.take(modern.connection)
    modern.cut_over()
    modern.roll_back(keep_changes=True)
    seeds = modern.settings.work_dir / "seeds"
    from crm_migrate import demo_data

    demo_data.demo_seeds(modern.connection, seeds)
    modern.run_id = "again"
    modern.settings = type(modern.settings)(
        **{**vars(modern.settings), "seeds_dir": seeds},
    )
    build(modern.connection, modern.settings, "again")
    modern.cut_over()
    assert modern.value("select count(*) from public.opportunities") == 150
    modern.roll_back(keep_changes=False)
    assert fingerprint.compare(before, fingerprint.take(modern.connection)) == []


def test_rejected_deal_whose_company_went_away_is_told(modern: Installation) -> None:  # noqa: F811
    company = modern.value("select company_id from public.deals where id = 20")
    # as if the target had refused it
    modern.execute("delete from crm_build.opportunities where id = 20")
    modern.execute("delete from public.payouts where deal_id = 20")
    modern.execute("delete from NOTES where deal_id = 20")
    modern.cut_over()
    refused = modern.value("select to_jsonb(deals) from crm_archive.deals where id = 20")
    modern.execute("delete from public.companies where id = %s", company)
    result = modern.roll_back(keep_changes=True)
    assert result.carried_over["deals"]["orphaned"] == 1
    assert result.orphaned == ["20"]
    assert modern.execute("select from public.deals where id = 20") == []
    (line,) = [line for line in lines(result.exported) if line.get("table") == "deals"]
    assert line["row"] == refused, "the deal is kept whole"
    assert (line["fate"], "deals_company_id_fkey" in line["because"]) == ("dropped", True)


def test_rejected_deal_whose_company_may_not_go_stays_without_it(modern: Installation) -> None:  # noqa: F811
    company = modern.value("select company_id from public.deals where id = 20")
    modern.execute("delete from crm_build.opportunities where id = 20")
    modern.execute("delete from public.payouts where deal_id = 20")
    modern.execute("delete from NOTES where deal_id = 20")
    modern.execute(
        "alter table public.deals drop constraint deals_company_id_fkey, add constraint deals_company_id_fkey"
        " foreign key (company_id) references public.companies (id) on delete restrict"
    )
    modern.cut_over()
    modern.execute("delete from public.companies where id = %s", company)
    result = modern.roll_back(keep_changes=True)
    assert result.carried_over["deals"]["unlinked"] == 1
    assert result.orphaned == []
    assert modern.execute("select company_id from public.deals where id = 20") == [(None,)]
    (line,) = [line for line in lines(result.exported) if line.get("table") == "deals"]
    assert line["row"]["company_id"] == company


def test_softly_deleted_row_that_something_may_not_lose_comes_back(modern: Installation) -> None:  # noqa: F811
    modern.execute(
        "create table public.contracts (id bigint primary key, company_id bigint references public.companies (id),"
        " deal_id bigint references public.deals (id))"
    )
    modern.execute("insert into public.contracts values (1, 7, null), (2, null, 9)")
    modern.cut_over()
    modern.execute("update public.companies set deleted_at = now() where id in (7, 8)")
    modern.execute("update public.opportunities set deleted_at = now() where id in (9, 12)")
    result = modern.roll_back(keep_changes=True)
    assert result.revived == {"companies": ["7"], "deals": ["9"]}
    assert modern.execute("select id from public.companies where id in (7, 8)") == [(7,)]
    assert modern.execute("select id from public.deals where id in (9, 12)") == [(9,)]


def test_rejected_deal_comes_back(modern: Installation) -> None:  # noqa: F811
    before = fingerprint.take(modern.connection)
    modern.execute("delete from crm_build.opportunities where id = 1")
    modern.execute("alter table NOTES disable trigger user")
    modern.execute("delete from NOTES where deal_id = 1")
    modern.execute("alter table NOTES enable trigger user")
    modern.execute("delete from public.reminders where id = 1")
    before = fingerprint.take(modern.connection)
    modern.cut_over()
    modern.roll_back(keep_changes=True)
    assert fingerprint.compare(before, fingerprint.take(modern.connection)) == []


SABOTAGE = {
    "a row deleted": ("delete from public.deals where id = 40", "content"),
    "a value changed": ("update public.tasks set text = 'x' where id = 1", "content"),
    "a grant dropped": ("revoke select on public.deals from authenticated", "grant"),
    "a view changed": (
        "create or replace view public.deals_of_deals as select id, label from public.deals_summary",
        "view",
    ),
    "a policy dropped": ('drop policy "Own rows" on public.deals', "policy"),
    "a trigger enabled": ("alter table public.deals enable trigger deal_quiet", "trigger"),
    "a publication forgotten": ("alter publication new_deals drop table public.deals", "publication_table"),
}


@pytest.mark.parametrize("keep_changes", [True, False], ids=["kept", "discarded"])
@pytest.mark.parametrize("fault", SABOTAGE)
def test_proof_fails_when_something_is_missing(fault: str, keep_changes: bool, modern: Installation) -> None:  # noqa: F811
    statement, kind = SABOTAGE[fault]
    modern.cut_over()
    lock.acquire(modern.connection, modern.settings, run_id="run-2")
    rollback.execute(
        modern.connection, modern.settings, modern.run_id, keep_changes=keep_changes, export_dir=modern.exports
    )
    proof = {"keep_changes": keep_changes}
    assert rollback.prove(modern.connection, modern.settings, modern.run_id, **proof) == []
    with modern.connection.transaction():
        modern.execute("select crm_migration.drop_fence()")
        modern.execute(statement)
        modern.execute("select crm_migration.raise_fence()")
    found = rollback.prove(modern.connection, modern.settings, modern.run_id, **proof)
    assert kind in {difference.kind for difference in found}


# each as if the rollback itself had done it; deal 3 was touched by people, deal 40 was not
SILENT_DAMAGE = {
    "an untouched deal altered": ("update public.deals set amount = amount + 1 where id = 40", "deals"),
    "an untouched deal deleted": ("delete from public.deals where id = 40", "deals"),
    "a deal invented": ("insert into public.deals (name, stage) values ('x', 'won')", "deals"),
    "a touched deal altered": ("update public.deals set amount = amount + 1 where id = 3", "deals 3"),
    "a touched deal deleted": ("delete from public.deals where id = 3", "deals 3"),
    "a new deal deleted": ("delete from public.deals where name = 'new one'", "deals 151"),
    "a deleted deal back": ("insert into public.deals (id, name, stage) values (6, 'x', 'won')", "deals 6"),
    "two deals' amounts swapped": (
        (
            "update public.deals set amount = other.amount from public.deals as other"
            " where deals.id + other.id = 81 and deals.id in (40, 41)"
        ),
        "deals",
    ),
    "a touched company altered": ("update public.companies set name = 'x' where id = 8", "companies"),
    "a note deleted": ("delete from public.deal_notes where text = 'a note'", "deal_notes"),
    "a row of an own table that refers to deals": ("update public.payouts set amount = 0 where deal_id = 3", "payouts"),
    "a row of an own table by itself": ("delete from public.price_list where id = 1", "price_list"),
}


def test_proof_finds_damage_to_what_people_did(modern: Installation) -> None:  # noqa: F811
    modern.execute("create table public.price_list (id bigint primary key, price numeric)")
    modern.execute("insert into public.price_list select n, n from generate_series(1, 5) as n")
    modern.cut_over()
    work(modern)
    modern.execute("insert into public.price_list values (6, 6)")
    modern.execute("update public.price_list set price = 0 where id = 2")
    lock.acquire(modern.connection, modern.settings, run_id="run-2")
    rollback.execute(modern.connection, modern.settings, modern.run_id, keep_changes=True, export_dir=modern.exports)
    assert rollback.prove(modern.connection, modern.settings, modern.run_id, keep_changes=True) == []
    missed = []
    for fault, (damage, identity) in SILENT_DAMAGE.items():
        with modern.connection.transaction(force_rollback=True):
            modern.execute("select crm_migration.drop_fence()")
            modern.execute("set local session_replication_role = replica")
            modern.execute(damage)
            found = rollback.prove(modern.connection, modern.settings, modern.run_id, keep_changes=True)
            if ("content", identity) not in {(item.kind, item.identity) for item in found}:
                missed.append((fault, found))
    assert missed == []


def test_proof_finds_damage_to_an_own_table_when_changes_are_discarded(modern: Installation) -> None:  # noqa: F811
    modern.execute("create table public.price_list (id bigint primary key, price numeric)")
    modern.cut_over()
    modern.execute("insert into public.price_list values (1, 1)")
    lock.acquire(modern.connection, modern.settings, run_id="run-2")
    rollback.execute(modern.connection, modern.settings, modern.run_id, keep_changes=False, export_dir=modern.exports)
    assert rollback.prove(modern.connection, modern.settings, modern.run_id, keep_changes=False) == []
    with modern.connection.transaction(force_rollback=True):
        modern.execute("select crm_migration.drop_fence()")
        modern.execute("delete from public.price_list")
        found = rollback.prove(modern.connection, modern.settings, modern.run_id, keep_changes=False)
    assert ("content", "price_list") in {(item.kind, item.identity) for item in found}


@pytest.mark.parametrize(
    "point", ["rollback.started", "rollback.exported", "rollback.before-commit", "rollback.committed"]
)
def test_killed_rollback_goes_on(point: str, modern: Installation) -> None:  # noqa: F811
    before = fingerprint.take(modern.connection)
    modern.cut_over()
    work(modern)
    lock.acquire(modern.connection, modern.settings, run_id="run-2")
    program = (
        "import pathlib; from crm_migrate import database, rollback; from crm_migrate.settings import Settings; "
        f"settings = Settings(dsn={modern.settings.dsn!r}); connection = database.connect(settings); "
        f"rollback.execute(connection, settings, {modern.run_id!r}, keep_changes=False,"
        f" export_dir=pathlib.Path({str(modern.exports)!r}))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), fault_points.KILL_AT: point},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert rollback.is_done(modern.connection, modern.run_id) == (point == "rollback.committed")
    if point == "rollback.committed":
        lock.release(modern.connection, modern.settings)
    else:
        modern.roll_back(keep_changes=False)
    assert fingerprint.compare(before, fingerprint.take(modern.connection)) == []


def test_rollback_waits_for_nobody(modern: Installation) -> None:  # noqa: F811
    modern.cut_over()
    lock.acquire(modern.connection, modern.settings, run_id="run-2")
    with database.connect(modern.settings) as other, other.transaction():
        other.execute("select count(*) from public.opportunities")
        with pytest.raises(rollback.RollbackBlocked):
            rollback.execute(
                modern.connection, modern.settings, modern.run_id, keep_changes=True, export_dir=modern.exports
            )
    assert not rollback.is_done(modern.connection, modern.run_id)
    assert modern.value("select count(*) from public.opportunities") == 150


WHOLE_PUBLICATIONS = {
    "of all tables": "create publication everything for all tables",
    "of the schema": "create publication everything for tables in schema public",
}


@pytest.mark.parametrize("case", WHOLE_PUBLICATIONS)
def test_there_and_back_under_a_publication_of_everything(case: str, stock: Installation) -> None:  # noqa: F811
    # updates and deletes of a published table need a replica identity, also those of the migration itself
    stock.execute(WHOLE_PUBLICATIONS[case])
    before = fingerprint.take(stock.connection)
    stock.cut_over()
    published = stock.execute("select tablename from pg_publication_tables where pubname = 'everything'")
    assert {("opportunities",), ("activities",), ("companies",)} <= {*published}
    stock.execute("update public.opportunities set stage = 'closed_won' where id = 3")
    stock.execute("update public.deals set stage = 'lost' where id = 4")
    stock.execute("delete from public.companies where id = 5")
    stock.roll_back(keep_changes=False)
    assert fingerprint.compare(before, fingerprint.take(stock.connection)) == []


@pytest.mark.parametrize("keep_changes", [True, False], ids=["kept", "discarded"])
def test_deals_that_nobody_could_change_go_there_and_back(keep_changes: bool, stock: Installation) -> None:  # noqa: F811
    stock.execute("alter table public.deals replica identity nothing")
    stock.execute("create publication sold for table public.deals")
    before = fingerprint.take(stock.connection)
    warnings = [warning.message for warning in stock.cut_over().warnings]
    assert any("nobody can change or delete an opportunity" in warning for warning in warnings)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        stock.execute("update public.deals set stage = 'lost' where id = 4")
    stock.execute("insert into public.deals (name, stage) values ('made later', 'won')")
    stock.roll_back(keep_changes=keep_changes)
    assert stock.value("select count(*) from public.deals where name = 'made later'") == int(keep_changes)
    after = fingerprint.take(stock.connection)
    assert fingerprint.compare(fingerprint.Fingerprint(before.schema), fingerprint.Fingerprint(after.schema)) == []


@pytest.mark.parametrize("keep_changes", [True, False], ids=["kept", "discarded"])
def test_deferred_keys_go_there_and_back(keep_changes: bool, stock: Installation) -> None:  # noqa: F811
    stock.execute(
        "alter table public.deals drop constraint deals_company_id_fkey, add constraint deals_company_id_fkey"
        " foreign key (company_id) references public.companies (id) on delete cascade deferrable initially deferred"
    )
    stock.execute(
        "create table public.invoices (id bigint primary key, deal_id bigint constraint invoices_deal_id_fkey"
        " references public.deals (id) deferrable initially deferred)"
    )
    stock.execute("insert into public.invoices values (1, 1), (2, 2)")
    before = fingerprint.take(stock.connection)
    stock.cut_over()
    described = fingerprint.take(stock.connection, content=False).schema["constraint"]
    key = described["invoices.invoices_deal_id_fkey"]
    assert key["validated"]
    assert key["definition"].endswith("REFERENCES public.opportunities(id) DEFERRABLE INITIALLY DEFERRED")
    stock.execute("update public.opportunities set deleted_at = now() where id in (2, 9)")
    stock.execute("delete from public.companies where id = 5")
    result = stock.roll_back(keep_changes=keep_changes)
    assert result.revived == ({"deals": ["2"]} if keep_changes else {})
    after = fingerprint.take(stock.connection, content=not keep_changes)
    assert fingerprint.compare(before if not keep_changes else fingerprint.Fingerprint(before.schema), after) == []
