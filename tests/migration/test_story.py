"""One record's story: before anything was tried, as the dry run built it, migrated, rolled back; and hostile values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate import model_docs, seed_companies, seed_files, story, story_rules
from crm_migrate.errors import UsageError
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings
from crm_migrate.steps import dry_run, rollback
from crm_migrate.story import Story
from people import value
from running import program

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def tell(connection: Connection, settings: Settings, entity: str, key: object) -> Story:
    return story.tell(connection, settings, entity, str(key))


def rule(told: Story, column: str) -> Any:
    return next(item for item in told.rules if item.column == column)


def cells_at(settings: Settings, where: str) -> dict[str, str]:
    """What an editor shows at this file and line."""
    name, _, number = where.partition(":")
    lines = (settings.seeds_dir / name).read_text(encoding="utf-8").splitlines()
    return dict(zip(lines[0].split(","), lines[int(number) - 1].split(","), strict=False))


def test_migrated_deal_with_its_rules_and_lines(migrated: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated)
    told = tell(migrated, settings, "deals", 3)
    assert (told.state, told.fate, told.entity, told.key) == ("migrated", "migrated", "deals", "3")
    assert told.run_id
    assert told.legacy is not None
    assert told.title == told.legacy["name"]
    row = told.became[0]
    assert (row.table, row.key) == ("opportunities", "3")
    assert row.legacy_names["customer_organization_id"] == "company_id"
    assert row.values["customer_organization_id"] == told.legacy["company_id"]
    assert {item.values["role"] for item in told.became if item.table == "opportunity_participants"} == {
        "customer",
        "principal",
        "distributor",
    }

    stage = rule(told, "stage")
    assert stage.text == model_docs.of_column("opportunities", "stage")
    (line,) = stage.lines
    assert line.agrees
    assert cells_at(settings, line.where)["legacy_stage"].strip().lower() == told.legacy["stage"].strip().lower()
    assert cells_at(settings, line.where)["stage"] == row.values["stage"]
    (line,) = rule(told, "principal_organization_id").lines
    assert line.file == "category_principals.csv"
    assert cells_at(settings, line.where)["category"] == told.legacy["category"]
    assert told.names[str(row.values["principal_organization_id"])]
    commission = rule(told, "commission_percent")
    assert commission.lines[0].agrees
    assert "principal_distributor_agreements.csv" in commission.text
    assert next(item.text for item in told.rules if item.table == "opportunity_participants").startswith("Which rule")

    # the same by its new name
    assert tell(migrated, settings, "opportunities", 3) == told


def test_a_mapping_that_changed_and_a_record_that_people_changed_are_told(
    migrated_2026: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(migrated_2026)
    before = tell(migrated_2026, settings, "deals", 1)
    assert before.changes == ()
    assert before.remarks == ()
    migrated_2026.execute("update public.opportunities set stage = 'negotiation' where id = 1")
    told = tell(migrated_2026, settings, "deals", 1)
    assert [change.operation for change in told.changes] == ["update"]
    assert not rule(told, "stage").lines[0].agrees
    with (settings.seeds_dir / "activity_type_mapping.csv").open("a", encoding="utf-8") as file:
        file.write("another,engagement,call\n")
    (remark,) = tell(migrated_2026, settings, "deals", 1).remarks
    assert "mapping files are not those" in remark


def test_every_entity_of_a_migrated_crm(migrated: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated)
    notes = "dealNotes" if value(migrated, "select to_regclass('crm_archive.deal_notes') is null") else "deal_notes"

    contact = value(migrated, "select contact_id from public.contact_organizations where origin = 'deal' limit 1")
    told = tell(migrated, settings, "contacts", contact)
    assert told.became[0].table == "contacts"
    origins = [item.value for item in told.rules if item.table == "contact_organizations"]
    assert "deal" in origins
    assert len(origins) == value(
        migrated, "select count(*) from public.contact_organizations where contact_id = %s", contact
    )
    naming = next(links for links in told.links if links.column == "contact_ids")
    assert naming.table == "opportunities"
    assert naming.total == value(
        migrated, "select count(*) from public.opportunities where contact_ids @> array[%s::bigint]", contact
    )

    principal = value(migrated, "select min(principal_organization_id) from public.principal_distributor_relationships")
    told = tell(migrated, settings, "companies", principal)
    assert rule(told, "is_principal").value is True
    assert {line.cells["role"] for line in rule(told, "organization_type").lines} >= {"principal"}
    assert any(item.table == "principal_distributor_relationships" for item in told.became)
    linked = {(links.table, links.column): links.total for links in told.links}
    assert linked["contacts", "company_id"] == value(
        migrated, "select count(*) from public.contacts where company_id = %s", principal
    )

    task = value(migrated, "select min(legacy_task_id) from public.activities where interaction_type = 'email'")
    told = tell(migrated, settings, "tasks", task)
    assert [item.table for item in told.became] == ["activities", "tasks"]
    assert rule(told, "interaction_type").lines[0].cells["interaction_type"] == "email"
    assert tell(migrated, settings, "activities", told.became[0].key) == told

    note = value(migrated, f'select max(id) from crm_archive."{notes}"')
    told = tell(migrated, settings, "notes", f"deal_note:{note}")
    assert (told.entity, told.legacy_table) == ("deal_notes", notes)
    assert told.became[0].table == "opportunity_notes"
    assert told.legacy is not None
    assert told.became[0].values["opportunity_id"] == told.legacy["deal_id"]
    with pytest.raises(UsageError, match="Both a deal note and a contact note"):
        tell(migrated, settings, "notes", 1)

    # made since the migration: a story without a beginning
    added = value(
        migrated,
        "insert into public.activities (activity_type, contact_id) values ('engagement', %s) returning id",
        contact,
    )
    migrated.execute(
        "delete from public.tasks where id = (select legacy_task_id from public.activities where id = %s)", [added]
    )
    told = tell(migrated, settings, "activities", added)
    assert (told.fate, told.legacy) == ("added", None)
    migrated.execute("delete from public.opportunities where id = 5")
    assert tell(migrated, settings, "deals", 5).fate == "deleted"


def test_warnings_rejected_and_excluded_rows(legacy: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy)
    legacy.execute("update public.deals set stage = 'Legal review', contact_ids = '{1,1,99999,null}' where id = 4")
    # the older generation refuses what the newer allows
    legacy.execute("alter table public.tasks alter contact_id drop not null")
    legacy.execute("update public.tasks set contact_id = null where id = 7")
    before = tell(legacy, settings, "deals", 4)
    assert (before.state, before.fate, before.became) == ("legacy", "pending", ())
    assert before.remarks[0].startswith("Nothing was tried yet")
    contacts = next(links for links in before.links if links.column == "contact_ids")
    assert [link.how for link in contacts.shown] == ["", "", "does not exist", "names nobody"]

    with db.connect(settings) as connection:
        dry_run.run(connection, settings, Silent(), accepted={}, keep_build=True)
    told = tell(legacy, settings, "deals", 4)
    assert told.state == "tried"
    assert told.became[0].values["stage"] == "lead"
    assert rule(told, "stage").lines == ()
    codes = {warning.code for warning in told.warnings}
    assert codes >= {"deals.unmapped_stage", "deals.dangling_contact", "deals.duplicate_contact", "deals.null_contact"}
    assert all(warning.message for warning in told.warnings)
    told = tell(legacy, settings, "tasks", 7)
    assert told.fate == "excluded"
    assert told.warnings[-1].code == "task_without_contact" or told.warnings[0].code == "task_without_contact"
    assert tell(legacy, settings, "companies", 1).became[0].table == "company_classifications"

    # a row that a new table refuses is told by its reason
    legacy.execute("alter table crm_build.opportunities add check (id <> 6) not valid")
    legacy.execute("delete from crm_build.opportunities where id = 6")
    legacy.execute(
        "insert into crm_migration.rejected_records (run_id, model, key_value, batch_no, sqlstate, message, source_row)"
        " values (%s, 'opportunities', 6, 0, '23514', 'refused by a check', '{\"deal_id\": 6}')",
        [told.run_id],
    )
    told = tell(legacy, settings, "deals", 6)
    assert told.fate == "rejected"
    assert "23514: refused by a check" in {warning.message for warning in told.warnings}

    legacy.execute("drop schema crm_build cascade")
    told = tell(legacy, settings, "deals", 4)
    assert (told.state, told.became) == ("legacy", ())
    assert {warning.code for warning in told.warnings} == codes
    assert "--keep-build" in told.remarks[0]


def test_after_a_rollback_the_legacy_record_is_told(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    with db.connect(settings) as connection:
        rollback.run(connection, settings, Silent())
    told = tell(migrated_2026, settings, "deals", 2)
    assert (told.state, told.became) == ("rolled back", ())
    assert told.legacy is not None
    assert "rolled back" in told.remarks[0]


def test_hostile_values_do_not_reach_the_terminal_as_they_are(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    name = "\x1b[2J\x1b]0;owned\x07 <script> \u202eevil" + "x" * 10_000
    migrated_2026.execute("update public.opportunities set name = %s where id = 1", [name])
    migrated_2026.execute("update crm_archive.deals set description = %s where id = 1", [name])
    shown, said = program(settings, "explain", "deals", "1", COLUMNS="80").communicate(timeout=60)
    assert "\\x1b[2J" in shown, said
    assert "<script>" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert max(map(len, shown.splitlines())) <= 80
    # and whole as JSON
    found = json.loads(program(settings, "explain", "deals", "1", "--json").communicate(timeout=60)[0])
    assert found["schema"] == "crm-migrate/explain/1"
    assert found["became"][0]["values"]["name"] == name
    assert found["run_id"]
    assert {field.name for field in dataclasses.fields(Story)} <= found.keys()
    # a terminal of few letters
    ascii_only, said = program(
        settings, "explain", "contacts", "1", COLUMNS="80", PYTHONIOENCODING="ascii"
    ).communicate(timeout=60)
    assert ascii_only.isascii(), said
    assert "contact_organizations" in ascii_only
    watched, said = program(settings, "status", "--watch", COLUMNS="80", PYTHONIOENCODING="cp1252").communicate(
        timeout=60
    )
    assert watched.isascii(), said
    assert "unlock" in watched
    assert max(map(len, watched.splitlines())) <= 80


@pytest.mark.parametrize(
    ("entity", "key", "code"),
    [
        ("deals", "987654", "CRM-014"),
        ("deals", "x", "CRM-010"),
        ("deals", str(2**64), "CRM-010"),
        ("cats", "1", "CRM-010"),
    ],
)
def test_what_is_not_there_is_a_clear_error(
    legacy_2026: Connection, mapped: MakeSettings, entity: str, key: str, code: str
) -> None:
    with pytest.raises(UsageError) as refused:
        tell(legacy_2026, mapped(legacy_2026), entity, key)
    assert refused.value.code == code
    assert refused.value.next


def test_every_line_is_of_a_file_that_its_rule_names(migrated_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(migrated_2026)
    principal = value(
        migrated_2026, "select min(principal_organization_id) from public.principal_distributor_relationships"
    )
    task = value(migrated_2026, "select min(legacy_task_id) from public.activities where interaction_type = 'email'")
    rules = [
        item
        for entity, key in (("deals", 1), ("deals", 3), ("companies", principal), ("tasks", task))
        for item in tell(migrated_2026, settings, entity, key).rules
    ]
    assert all(line.file in item.text for item in rules for line in item.lines if item.column != "origin")
    assert {line.file for item in rules for line in item.lines} == {*seed_files.FILES} - {"stage_way_back.csv"}
    assert all(item.text and "{{" not in item.text for item in rules)


def test_lines_of_a_company_are_told_however_they_name_it_and_only_where_it_is_the_one(
    legacy_2026: Connection, mapped: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(legacy_2026)
    monkeypatch.setattr(seed_companies, "AT_ONCE", 2)
    legacy_2026.execute(
        "insert into public.companies (id, created_at, name, website) values"
        " (900001, now(), 'Prima', 'https://www.Prima.example/about'), (900002, now(), 'Dista, Inc.', null),"
        " (900003, now(), 'Twin', 'https://twin.example'), (900004, now(), 'Twin', 'http://twin.example/2')"
    )
    start = len((settings.seeds_dir / "company_roles.csv").read_text(encoding="utf-8").splitlines())
    with (settings.seeds_dir / "company_roles.csv").open("a", encoding="utf-8") as file:
        file.write(",,prima.example,principal,\n,Prima,,distributor,5\n900001,Twin,,vendor,\n900002,,,distributor,\n")
        file.write(",Twin,,vendor,\n900003,,,vendor,\n,,twin.example,vendor,\n")
    with (settings.seeds_dir / "principal_distributor_agreements.csv").open("a", encoding="utf-8") as file:
        file.write('900001,,,"Dista, Inc.",active,,,5,\n,Prima,,Twin,active,,,5,\n900002,,900001,,active,,,5,\n')
    files = story_rules.MappingFiles(legacy_2026, settings.seeds_dir)

    def told(company: int, *roles: str) -> list[int]:
        return [line.number - start for line in files.of_company(company, *roles)]

    assert told(900001) == [1, 2, 3]
    assert told(900001, "distributor") == [2]
    assert told(900002) == [4]
    assert told(900003) == [6]
    assert told(900004) == []
    assert [line["principal_company_id"] for line in files.agreements(900001, 900002)] == ["900001"]
    assert [line["principal_company_id"] for line in files.agreements(900002, 900001)] == ["900002"]
    assert not files.agreements(900001, 900003)
    assert not files.agreements(900001, None)
