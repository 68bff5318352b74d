"""The oracles: they agree on a good migration, and each fails when it is sabotaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import ledger, verification
from crm_migrate.errors import Exit
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings
from crm_migrate.verification import Verification

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

DEAL = "(select min(id) from public.opportunities where amount is not null and customer_organization_id is not null)"
SABOTAGE = {
    "a deal is lost": ("delete from public.opportunities where id = " + DEAL, {"O1", "O2", "O3", "O4"}),
    "a deal is invented": (
        "insert into public.opportunities (name, legacy_stage) values ('invented', 'won')",
        {"O1", "O2", "O3", "O4"},
    ),
    "a company is lost": (
        "delete from public.companies where id = (select min(id) from public.companies)",
        {"O1", "O3"},
    ),
    "a contact is lost": ("delete from public.contacts where id = (select min(id) from public.contacts)", {"O1", "O3"}),
    "a task is lost": ("delete from public.tasks where id = (select min(id) from public.tasks)", {"O1", "O3"}),
    "an activity is lost": (
        "delete from public.activities where id = (select min(id) from public.activities)",
        {"O1", "O2"},
    ),
    "an amount is changed": ("update public.opportunities set amount = amount + 1 where id = " + DEAL, {"O3", "O4"}),
    "two amounts are swapped": (
        (
            "update public.opportunities as one set amount = other.amount from public.opportunities as other"
            " where (one.id, other.id) in (select a.id, b.id from (values (0, 1), (1, 0)) as pair (x, y)"
            " cross join lateral (select id from public.opportunities where amount is not null order by amount, id"
            " offset x * 20 limit 1) as a cross join lateral (select id from public.opportunities"
            " where amount is not null order by amount, id offset y * 20 limit 1) as b)"
        ),
        {"O3"},
    ),
    "a stage is changed": (
        "update public.opportunities set legacy_stage = legacy_stage || ' ' where id = " + DEAL,
        {"O3", "O4"},
    ),
    "a letter changes its case": ("update public.companies set website = upper(website)", {"O3"}),
    "a contact id is dropped": (
        (
            "update public.opportunities set contact_ids = contact_ids[2:] where id ="
            " (select min(id) from public.opportunities where cardinality(contact_ids) > 1)"
        ),
        {"O3", "O4"},
    ),
    "a link is dropped": (
        "delete from public.contact_organizations where id = (select min(id) from public.contact_organizations)",
        {"O2", "O4"},
    ),
    "a customer is dropped": (
        "delete from public.opportunity_participants where id = (select min(id) from public.opportunity_participants)",
        {"O2", "O4"},
    ),
    "a note is changed": (
        (
            "update public.opportunity_notes set text = coalesce(text, '') || '.' where id ="
            " (select min(id) from public.opportunity_notes)"
        ),
        {"O3"},
    ),
    "a note is lost": (
        "delete from public.opportunity_notes where id = (select min(id) from public.opportunity_notes)",
        {"O1", "O3"},
    ),
    "a tag is changed": ("update public.tags set color = color || '0'", {"O3"}),
    "a ledger row counts wrong": (
        "update crm_migration.batches set rows_written = rows_written + 1 where model = 'activities' and batch_no = 1",
        {"O2"},
    ),
    "a ledger row is missing": (
        "delete from crm_migration.batches where model = 'opportunities' and batch_no = 1",
        {"O2"},
    ),
    "two ranges overlap": (
        "update crm_migration.batches set key_hi = key_hi + 1 where model = 'opportunities' and batch_no = 1",
        {"O2"},
    ),
    "a batch is not done": (
        "update crm_migration.batches set state = 'pending' where model = 'activities' and batch_no = 1",
        {"O2"},
    ),
    "a row is excluded and migrated": (
        "insert into crm_migration.excluded_rows (run_id, entity, row_key, rule) select run_id, 'deals', "
        + DEAL
        + ", 'a rule' from crm_migration.runs where kind = 'apply'",
        {"O1"},
    ),
    "a row is rejected and migrated": (
        "insert into crm_migration.rejected_records (run_id, model, key_value, batch_no, sqlstate, message, source_row)"
        " select run_id, 'opportunities', " + DEAL + ", 1, '23514', 'no', '{}' from crm_migration.runs"
        " where kind = 'apply'",
        {"O1", "O2", "O4"},
    ),
}


def verify(connection: Connection, settings: Settings, **options: Any) -> Verification:
    run = ledger.latest(connection, "apply", states=("completed",))
    assert run is not None
    found = LegacySchema.from_json(run.summary["legacy"])
    return verification.run(connection, settings, run.run_id, found, **{"sample": 100, "seed": 1, **options})


def failed(found: Verification) -> set[str]:
    return {oracle.id for oracle in found.oracles if oracle.ok is False}


def test_a_migrated_database_is_verified(migrated: Connection, make_settings: MakeSettings) -> None:
    found = verify(migrated, make_settings(migrated))
    assert failed(found) == set(), found.oracles
    assert found.exit_code == Exit.OK
    assert [oracle.id for oracle in found.oracles] == [f"O{number}" for number in range(1, 9)]
    assert all(oracle.checked_rows > 0 for oracle in found.oracles if oracle.id in ("O1", "O2", "O3", "O4"))
    assert (found.samples.compared, found.samples.different) == (100, 0)
    assert {"oracles", "samples"} <= set(found.as_json())


@pytest.mark.parametrize("name", sorted(SABOTAGE))
def test_sabotage_is_found(migrated_2026: Connection, make_settings: MakeSettings, name: str) -> None:
    statement, expected = SABOTAGE[name]
    # past the journal: nobody is told
    migrated_2026.execute("set session_replication_role = replica")
    done = migrated_2026.execute(statement)
    assert done.rowcount > 0, "the sabotage did not happen"
    found = verify(migrated_2026, make_settings(migrated_2026))
    assert expected <= failed(found)
    assert found.exit_code == Exit.VERIFICATION_FAILED
    assert all(oracle.examples for oracle in found.oracles if oracle.ok is False)


def test_sabotage_is_found_in_the_older_generation(migrated_2025: Connection, make_settings: MakeSettings) -> None:
    migrated_2025.execute("set session_replication_role = replica")
    migrated_2025.execute(
        "update public.companies set \"stateAbbr\" = 'XX' where id = (select min(id) from public.companies)"
    )
    migrated_2025.execute('delete from public."contactNotes" where id = (select min(id) from public."contactNotes")')
    assert failed(verify(migrated_2025, make_settings(migrated_2025))) == {"O1", "O3"}


@pytest.mark.parametrize(
    "statements",
    [
        ["update public.deals set amount = 77, stage = 'won' where id = (select min(id) from public.deals)"],
        ["delete from public.opportunities where id = (select min(id) from public.opportunities)"],
        ["insert into public.deals (name, stage, company_id) select 'new', 'won', min(id) from public.companies"],
        ["delete from public.companies where id = (select min(company_id) from public.deals)"],
        ["update public.tasks set done_date = now() where id = (select min(id) from public.tasks)"],
        ["update public.contacts set company_id = (select max(id) from public.companies) where id = 1"],
        ["delete from public.contacts where id = (select min(id) from public.contacts)"],
        ["update public.opportunity_participants set territory = 'north' where role = 'customer'"],
        ["delete from public.opportunity_participants where role = 'customer' and opportunity_id < 10"],
        ["truncate public.opportunity_participants"],
        [
            (
                "update public.opportunities set deleted_at = now()"
                " where id in (select opportunity_id from public.opportunity_notes)"
            ),
        ],
    ],
)
def test_what_people_changed_since_is_left_out_and_counted(
    migrated: Connection, make_settings: MakeSettings, statements: list[str]
) -> None:
    for statement in statements:
        assert migrated.execute(statement).rowcount != 0
    found = verify(migrated, make_settings(migrated))
    assert failed(found) == set(), [oracle for oracle in found.oracles if oracle.ok is False]
    assert sum(oracle.changed_since for oracle in found.oracles) > 0


def test_a_changed_row_does_not_hide_its_neighbour(migrated_2026: Connection, make_settings: MakeSettings) -> None:
    migrated_2026.execute("update public.deals set amount = 77 where id = (select min(id) from public.deals)")
    migrated_2026.execute("set session_replication_role = replica")
    migrated_2026.execute(
        "update public.opportunities set amount = 78 where id = (select max(id) from public.opportunities)"
    )
    assert {"O3", "O4"} <= failed(verify(migrated_2026, make_settings(migrated_2026)))


@pytest.mark.parametrize("change", ["update {} set territory = 'north' where id = {}", "delete from {} where id = {}"])
def test_a_changed_participant_does_not_hide_its_neighbour(
    migrated_2026: Connection, make_settings: MakeSettings, change: str
) -> None:
    first, second = (
        row[0]
        for row in migrated_2026.execute(
            "select id from public.opportunity_participants where role = 'customer' order by id limit 2"
        )
    )
    # journalled, but the opportunity does not follow
    migrated_2026.execute("alter table public.opportunity_participants disable trigger crm_opportunity_follows")
    migrated_2026.execute(change.format("public.opportunity_participants", first))
    assert failed(verify(migrated_2026, make_settings(migrated_2026))) == set()
    migrated_2026.execute("set session_replication_role = replica")
    migrated_2026.execute("delete from public.opportunity_participants where id = %s", [second])
    found = verify(migrated_2026, make_settings(migrated_2026))
    assert "customers" in next(oracle.message for oracle in found.oracles if oracle.id == "O4" and not oracle.ok)


def test_the_sample_follows_its_seed(migrated_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(migrated_2026)

    def keys(seed: int) -> list[tuple[str, str]]:
        return [(item.entity, item.key) for item in verify(migrated_2026, settings, seed=seed).samples.records]

    assert keys(1) == keys(1) != keys(2)


def test_the_sample_shows_the_difference(migrated_2026: Connection, make_settings: MakeSettings) -> None:
    migrated_2026.execute("set session_replication_role = replica")
    migrated_2026.execute("update public.opportunities set amount = -4")
    samples = verify(migrated_2026, make_settings(migrated_2026)).samples
    different = [item for item in samples.records if item.different]
    assert {item.entity for item in different} == {"deals"}
    assert different[0].after is not None
    assert different[0].after["amount"] == "-4" != different[0].before["amount"]


def test_verification_writes_nothing(migrated_2026: Connection, make_settings: MakeSettings) -> None:
    migrated_2026.execute("set default_transaction_read_only = on")
    assert verify(migrated_2026, make_settings(migrated_2026)).ok
