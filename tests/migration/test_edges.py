"""Rows at the edge of what the legacy types allow: each is migrated exactly, or told apart by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate import demo_data, findings, legacy
from crm_migrate.observer import Silent
from crm_migrate.reports import DryRunReport
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run, rollback, verify
from people import value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

NAMES = (
    "",
    "  ",
    "NULL",
    "🦊 émoji ½",
    "שלום עולם, مرحبا",
    'O\'Brien "and" Söhne',
    "back\\slash \\N \\. \t tab",
    "two\nlines\r\n",
    "'; drop table public.deals; --",
    "<script>alert(1)</script>",
    "%s %(name)s {{ jinja }} {% raw %} $1",
    "x" * 1_000_000,
)
# amount, stage, contact_ids, created_at, updated_at, archived_at, expected, index
ODD_DEALS: tuple[tuple[Any, ...], ...] = (
    (2**53 + 1, "won", [0], "2020-01-01", "2020-01-02", None, "infinity", 0),
    (-(2**63), " WON\t", [0, 0, 404, None], "infinity", "infinity", "-infinity", "-infinity", -32768),
    (
        2**63 - 1,
        "",
        "{{0,404},{NULL,0}}",
        "4713-01-01 BC",
        "294276-12-31 23:59:59.999999+00",
        None,
        "5874897-12-31",
        32767,
    ),
    (0, "Won", None, "2024-03-31 02:30+02", "2024-10-27 02:30+01", None, None, None),
    (None, "⚑ custom" + "⚑\n" * 9_000, "[-1:0]={NULL,0}", "1969-12-31", "0001-01-01", None, "0001-01-01 BC", 1),
)


def migrate(settings: Settings, accepted: dict[str, str] | None = None) -> DryRunReport:
    with db.connect(settings) as own:
        report = dry_run.run(own, settings, Silent(), accepted=accepted or {})
    assert report.verdict == "GO", (report.reasons, report.cutover_rehearsal)
    with db.connect(settings) as own:
        apply.run(own, settings, Silent())
    return report


def as_text(connection: Connection, table: str, key: str = "id") -> list[tuple[Any, ...]]:
    """Rows as text, which is exact for every type."""
    return connection.execute(f"select {key}, t::text from public.{table} as t order by {key}").fetchall()


@pytest.mark.fault(number=14)
@pytest.mark.fault(number=15)
def test_every_legal_row_survives_exactly(legacy: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy)
    generation = "2025" if value(legacy, "select to_regclass('public.deal_notes') is null") else "2026"
    legacy.execute("alter table public.contacts disable trigger user")
    legacy.execute("insert into public.contacts (id, first_name, last_name) values (0, null, '')")
    legacy.execute(
        "update public.contacts set email_jsonb = '\"not a list\"', phone_jsonb = '[]', tags = '{}' where id = 1"
    )
    legacy.execute("alter table public.contacts enable trigger user")
    legacy.execute("alter table public.companies disable trigger user")
    for name in NAMES:
        legacy.execute(
            "insert into public.companies (name, created_at, context_links)"
            ' values (%s, \'-infinity\', \'{"a": "\\u0000", "a": 2}\')',
            [name],
        )
    legacy.execute("alter table public.companies enable trigger user")
    for number, name in enumerate(NAMES):
        amount, stage, contacts, created, updated, archived, expected, index = ODD_DEALS[number % len(ODD_DEALS)]
        if generation == "2025" and expected == "5874897-12-31":
            expected = "294276-12-31"
        legacy.execute(
            "insert into public.deals (name, amount, stage, contact_ids, created_at, updated_at, archived_at,"
            ' expected_closing_date, "index", description, category)'
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [name, amount, stage, contacts, created, updated, archived, expected, index, name, name],
        )
    legacy.execute("update public.deals set id = 9223372036854775807 where id = (select max(id) from public.deals)")
    legacy.execute("update public.tasks set id = 9223372036854775807 where id = (select max(id) from public.tasks)")
    before = {table: as_text(legacy, table) for table in ("deals", "contacts", "companies", "tasks", "sales")}

    report = migrate(settings, dict.fromkeys(findings.warning_codes(), "made on purpose"))

    found = {finding.id for finding in report.findings}
    assert {"deals.unmapped_stage", "deals.dangling_contact", "deals.negative_amount", "deals.blank_name"} <= found
    assert value(legacy, "select count(*) from crm_migration.rejected_records") == 0
    assert as_text(legacy, "deals") == before["deals"]
    verified = verify.run(legacy, settings)
    assert verified.ok, verified.oracles
    # a row that has the very last number is no reason not to have another one
    assert value(legacy, "insert into public.deals (name, stage) values ('next', 'won') returning id") < 10**6
    legacy.execute("insert into public.tasks (contact_id, due_date) values (1, now())")
    # the journal keeps rows as documents, and this one cannot be one
    legacy.execute("alter table public.companies disable trigger user")
    legacy.execute("alter table public.companies enable trigger crm_migrate_journal_update")
    legacy.execute("update public.companies set city = 'changed' where context_links is not null")
    legacy.execute("alter table public.companies enable trigger user")
    with db.connect(settings) as own:
        rollback.run(own, settings, Silent(), keep_changes=False)
    assert {table: as_text(legacy, table) for table in before} == before


def test_closed_deals_close_when_they_were_last_changed(migrated: Connection) -> None:
    wrong = migrated.execute(
        "select id from public.opportunities where stage in ('closed_won', 'closed_lost')"
        " and actual_close_date is distinct from (updated_at at time zone 'UTC')::date"
    ).fetchall()
    assert wrong == []
    assert value(migrated, "select count(*) from public.opportunities where actual_close_date is not null") > 0


def test_a_crm_without_rows_migrates(database: Connection, make_settings: MakeSettings) -> None:
    demo_data.create_schema(database, legacy.Generation.G2026)
    settings = make_settings(database)
    migrate(settings)
    assert value(database, "select count(*) from public.opportunities") == 0
    assert verify.run(database, settings).ok
    database.execute(
        "insert into public.deals (name, stage, created_at, updated_at) values ('first', 'won', now(), now())"
    )
    assert value(database, "select stage::text from public.opportunities where name = 'first'") == "closed_won"


@pytest.mark.fault(number=12)
def test_a_refused_row_is_kept_whole_and_told(legacy_2026: Connection, mapped: MakeSettings) -> None:
    # a rule of the installation that holds for new rows only, and that an old row breaks
    legacy_2026.execute("alter table public.deals add column hue text")
    legacy_2026.execute("update public.deals set hue = 'red' where id <> 7")
    legacy_2026.execute("alter table public.deals add constraint hue_given not null hue not valid")
    legacy_2026.execute("delete from public.deal_notes where deal_id = 7")
    settings = mapped(legacy_2026, threshold_percent=5.0)
    report = migrate(settings)
    assert report.entities["deals"]["rejected"] == 1
    kept = legacy_2026.execute(
        "select key_value, sqlstate, source_row ->> 'hue', source_row ->> 'name' is not null"
        " from crm_migration.rejected_records order by logged_at desc limit 1"
    ).fetchone()
    assert kept == (7, "23502", None, True)
    assert value(legacy_2026, "select count(*) from public.opportunities where id = 7") == 0
    verified = verify.run(legacy_2026, settings)
    assert verified.ok, verified.oracles
