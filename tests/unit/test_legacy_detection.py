"""The wrapper says which generation it has before it, what was added to it, and what it will not touch."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from crm_migrate import demo_data, legacy
from crm_migrate.errors import Exit
from crm_migrate.legacy import Generation, LegacySchema

Connection = psycopg.Connection[Any]


@pytest.fixture(params=list(Generation))
def stock(request: pytest.FixtureRequest, database: Connection) -> tuple[Connection, Generation]:
    """An empty CRM as it was delivered."""
    demo_data.create_schema(database, request.param)
    return database, request.param


def test_a_stock_schema_has_nothing_extra_and_misses_nothing(stock: tuple[Connection, Generation]) -> None:
    connection, generation = stock
    found = legacy.detect(connection)
    assert found.generation is generation
    assert [column.name for column in found.columns["deals"]][-3:] == ["expected_closing_date", "sales_id", "index"]
    assert found.extra_columns == {}
    assert found.missing == ()
    for extra in (found.extra_tables, found.extra_views, found.extra_triggers, found.extra_policies):
        assert extra == ()
    assert found.foreign_keys_to_deals == ()
    assert found.table("deal_notes") == ("dealNotes" if generation is Generation.G2025 else "deal_notes")
    assert found.table("deals") == "deals"


def test_detection_does_not_write(stock: tuple[Connection, Generation]) -> None:
    connection, _ = stock
    connection.execute("set default_transaction_read_only = on")
    legacy.detect(connection)


def test_additions_of_an_installation_are_named(stock: tuple[Connection, Generation]) -> None:
    connection, generation = stock
    connection.execute("""
        alter table public.deals add column next_action text not null default 'call';
        create table public.payouts (id int primary key, deal_id bigint references public.deals (id));
        create view public.deals_by_stage as select stage, count(*) as deals from public.deals group by stage;
        create function public.on_won() returns trigger language plpgsql as 'begin return new; end';
        create trigger deal_won after update on public.deals for each row execute function public.on_won();
        create policy own_deals on public.deals as restrictive for select to authenticated using (sales_id = 1);
        create schema billing;
        create table billing.invoices (deal_id bigint constraint for_deal references public.deals (id));
    """)
    found = legacy.detect(connection)
    assert found.generation is generation
    assert [(column.name, column.type, column.not_null) for column in found.extra_columns["deals"]] == [
        ("next_action", "text", True)
    ]
    assert found.extra_tables == ("payouts",)
    assert found.extra_views == ("deals_by_stage",)
    assert found.extra_triggers == ("deals.deal_won",)
    assert found.extra_policies == ("deals.own_deals",)
    assert found.foreign_keys_to_deals == ("billing.invoices.for_deal", "payouts.payouts_deal_id_fkey")


def test_what_was_found_survives_json(stock: tuple[Connection, Generation]) -> None:
    connection, _ = stock
    connection.execute("alter table public.deals add column margin numeric")
    found = legacy.detect(connection)
    assert LegacySchema.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_a_missing_view_is_no_obstacle(stock: tuple[Connection, Generation]) -> None:
    connection, _ = stock
    connection.execute("drop view public.contacts_summary")
    assert legacy.detect(connection).missing == ("view contacts_summary",)


def test_text_may_be_citext_or_varchar(stock: tuple[Connection, Generation]) -> None:
    connection, generation = stock
    connection.execute("""
        drop view public.companies_summary;
        alter table public.companies alter column website type varchar(200);
    """)
    assert legacy.detect(connection).generation is generation


def test_an_empty_database_is_refused(database: Connection) -> None:
    with pytest.raises(legacy.EmptyDatabase) as caught:
        legacy.detect(database)
    assert caught.value.exit_code is Exit.USAGE


def test_another_application_is_refused(database: Connection) -> None:
    database.execute("create table public.deals (id int); create table public.posts (id int)")
    with pytest.raises(legacy.NotAtomicCrm, match="does not hold an Atomic CRM") as caught:
        legacy.detect(database)
    assert "deals, posts" in caught.value.why


def test_an_unknown_shape_lists_its_differences_to_the_nearest_generation(stock: tuple[Connection, Generation]) -> None:
    connection, generation = stock
    connection.execute("""
        drop view if exists public.activity_log;
        drop table public.tags;
        drop table public.tasks cascade;
        alter table public.deals drop column archived_at, alter column "index" type integer;
    """)
    with pytest.raises(legacy.UnknownGeneration) as caught:
        legacy.detect(connection)
    assert caught.value.nearest is generation
    assert set(caught.value.differences) == {
        "table tags is missing",
        "table tasks is missing",
        "column deals.archived_at is missing",
        "column deals.index is integer, not smallint",
    }
    assert "column deals.archived_at is missing" in caught.value.why


def test_a_migrated_database_is_refused(stock: tuple[Connection, Generation]) -> None:
    connection, _ = stock
    connection.execute("""
        create schema crm_archive;
        create table public.opportunities (id bigint);
        alter table public.deals set schema crm_archive;
    """)
    with pytest.raises(legacy.AlreadyMigrated) as caught:
        legacy.detect(connection)
    assert caught.value.exit_code is Exit.WRONG_STATE


def test_the_fence_of_the_maintenance_lock_is_not_an_addition(stock: tuple[Connection, Generation]) -> None:
    connection, _ = stock
    connection.execute("""
        create schema crm_migration;
        create function crm_migration.refuse_write() returns trigger language plpgsql as 'begin return null; end';
        create trigger crm_migrate_fence before update on public.deals
        for each statement execute function crm_migration.refuse_write();
    """)
    assert legacy.detect(connection).extra_triggers == ()
