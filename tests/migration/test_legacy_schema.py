"""The legacy schemas that we write ourselves have the facts, and the traps, of the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import demo_data
from crm_migrate.legacy import Generation

Connection = psycopg.Connection[Any]

STOCK_DEALS = [
    "id",
    "name",
    "company_id",
    "contact_ids",
    "category",
    "stage",
    "description",
    "amount",
    "created_at",
    "updated_at",
    "archived_at",
    "expected_closing_date",
    "sales_id",
    "index",
]
NOTES = {"2025": ('"dealNotes"', '"contactNotes"'), "2026": ("deal_notes", "contact_notes")}


@contextmanager
def as_role(connection: Connection, role: str, user: int | None = None) -> Iterator[None]:
    """Within the block the connection is what the API makes of a request, and is rolled back afterwards."""
    with connection.transaction(force_rollback=True):
        claims: dict[str, Any] = {"role": role}
        if user is not None:
            row = connection.execute("select user_id from public.sales where id = %s", [user]).fetchone()
            assert row is not None
            claims["sub"] = str(row[0])
        connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield


def column(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in connection.execute(query, parameters)]


def columns_of(connection: Connection, relation: str) -> list[str]:
    query = """
        select attname from pg_attribute
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        order by attnum
    """
    return column(connection, query, relation)


def callouts(connection: Connection) -> list[str]:
    return column(connection, "select who from auth.callouts order by id")


@pytest.mark.parametrize("generation", list(Generation))
def test_an_empty_schema_of_each_generation_can_be_made(database: Connection, generation: Generation) -> None:
    demo_data.create_schema(database, generation)
    assert columns_of(database, "public.deals") == STOCK_DEALS
    assert column(database, "select is_initialized from public.init_state") == [0]


@pytest.mark.postgres15
@pytest.mark.parametrize("generation", list(Generation))
def test_each_generation_runs_on_postgres_15(database15: Connection, generation: Generation) -> None:
    demo_data.create_schema(database15, generation)
    counts = demo_data.load(database15, generation, contacts=200)
    assert column(database15, "select count(*) from public.contacts_summary") == [counts.contacts]


def test_generations_differ_in_spelling_and_types(legacy_2025: Connection, legacy_2026: Connection) -> None:
    query = """
        select format_type(atttypid, atttypmod) from pg_attribute
        where attrelid = to_regclass(%s) and attname = %s and not attisdropped
    """
    for table, name, in_2025, in_2026 in (
        ("public.companies", "stateAbbr", ["text"], []),
        ("public.companies", "state_abbr", [], ["text"]),
        ("public.companies", "website", ["text"], ["extensions.citext"]),
        ("public.sales", "email", ["text"], ["extensions.citext"]),
        ("public.deals", "expected_closing_date", ["timestamp with time zone"], ["date"]),
    ):
        assert column(legacy_2025, query, table, name) == in_2025
        assert column(legacy_2026, query, table, name) == in_2026


def test_renamed_notes_keep_the_names_of_their_keys_and_sequences(legacy_2026: Connection) -> None:
    query = (
        "select conname from pg_constraint where conrelid = 'public.deal_notes'::regclass and contype <> 'n' order by 1"
    )
    assert column(legacy_2026, query) == ["dealNotes_deal_id_fkey", "dealNotes_pkey", "dealNotes_sales_id_fkey"]
    sequence = column(legacy_2026, "select pg_get_serial_sequence('public.contact_notes', 'id')")
    assert sequence == ['public."contactNotes_id_seq"']


def test_only_2025_lets_a_task_name_a_user_who_is_gone(legacy_2025: Connection, legacy_2026: Connection) -> None:
    update = "update public.tasks set sales_id = 987654321 where id = 1"
    legacy_2025.execute(update)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        legacy_2026.execute(update)
    with pytest.raises(psycopg.errors.NotNullViolation):
        legacy_2025.execute("update public.tasks set due_date = null where id = 1")
    legacy_2026.execute("update public.tasks set due_date = null where id = 1")


def test_summaries_have_the_columns_of_their_generation(legacy_2025: Connection, legacy_2026: Connection) -> None:
    old = columns_of(legacy_2025, "public.contacts_summary")
    assert old[4:10] == ["title", "email_jsonb", "email_fts", "phone_jsonb", "phone_fts", "background"]
    assert old[-3:] == ["linkedin_url", "company_name", "nb_tasks"]
    new = columns_of(legacy_2026, "public.contacts_summary")
    assert new == [*columns_of(legacy_2026, "public.contacts"), "email_fts", "phone_fts", "company_name", "nb_tasks"]
    for connection in (legacy_2025, legacy_2026):
        companies = columns_of(connection, "public.companies")
        assert columns_of(connection, "public.companies_summary") == [*companies, "nb_deals", "nb_contacts"]


def test_nb_tasks_counts_all_tasks_in_2025_and_open_ones_in_2026(
    legacy_2025: Connection, legacy_2026: Connection
) -> None:
    total = "select sum(nb_tasks)::int from public.contacts_summary"
    assert column(legacy_2025, total) == column(legacy_2025, "select count(*)::int from public.tasks")
    open_tasks = "select count(*)::int from public.tasks where done_date is null"
    assert column(legacy_2026, total) == column(legacy_2026, open_tasks)


def test_init_state_is_readable_before_login(legacy: Connection) -> None:
    with as_role(legacy, "anon"):
        assert column(legacy, "select is_initialized from public.init_state") == [1]
        assert column(legacy, "select count(*) from public.sales") == [0]
        assert column(legacy, "select count(*) from public.deals") == [0]


def test_whoever_is_logged_in_works_with_everything(legacy: Connection) -> None:
    everything = column(legacy, "select count(*) from public.deals")
    with as_role(legacy, "authenticated", user=1):
        assert column(legacy, "select count(*) from public.deals") == everything
        assert column(legacy, "select count(*) from public.companies_summary where nb_deals > 0")[0] > 0
        legacy.execute("insert into public.deals (name, stage) values ('new', 'opportunity')")
        assert legacy.execute("delete from public.companies where id = 1").rowcount == 1


def test_authenticator_may_become_each_api_role(legacy: Connection) -> None:
    query = """
        select rolname from pg_roles
        where pg_has_role('authenticator', oid, 'member') and rolname <> 'authenticator' order by rolname
    """
    assert column(legacy, query) == ["anon", "authenticated", "service_role"]
    flags = legacy.execute("select rolcanlogin, rolinherit from pg_roles where rolname = 'authenticator'").fetchone()
    assert flags == (True, False)


def test_children_go_with_company_contact_and_deal_but_users_stay(legacy: Connection) -> None:
    generation = "2026" if columns_of(legacy, "public.deal_notes") else "2025"
    deal_notes, contact_notes = NOTES[generation]
    legacy.execute("delete from public.companies where id in (1, 2, 3)")
    assert column(legacy, "select count(*) from public.deals where id in (1, 2, 3)") == [0]
    assert column(legacy, "select count(*) from public.contacts where company_id in (1, 2, 3)") == [0]
    for table, key, parent in ((deal_notes, "deal_id", "deals"), (contact_notes, "contact_id", "contacts")):
        orphans = f"select count(*) from public.{table} where {key} not in (select id from public.{parent})"
        assert column(legacy, orphans) == [0]
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        legacy.execute("delete from public.sales where id = 1")


def test_2026_fills_in_who_created_a_row(legacy_2026: Connection) -> None:
    with as_role(legacy_2026, "authenticated", user=2):
        for insert in (
            "insert into public.companies (name) values ('x')",
            "insert into public.contacts (first_name) values ('x')",
            "insert into public.deals (name, stage) values ('x', 'won')",
            "insert into public.deal_notes (deal_id) values (1)",
            "insert into public.contact_notes (contact_id) values (1)",
            "insert into public.tasks (contact_id) values (1)",
        ):
            assert column(legacy_2026, f"{insert} returning sales_id") == [2]
        explicit = "insert into public.deals (name, stage, sales_id) values ('x', 'won', 3) returning sales_id"
        assert column(legacy_2026, explicit) == [3]


def test_2026_calls_out_on_each_row_unless_user_triggers_are_off(legacy_2026: Connection) -> None:
    assert callouts(legacy_2026) == []
    legacy_2026.execute("update public.companies set size = 1 where id <= 2")
    legacy_2026.execute('update public.contacts set email_jsonb = \'[{"email": "A@B.example"}]\' where id = 1')
    assert callouts(legacy_2026) == ["company_saved", "company_saved", "20_contact_saved"]
    assert column(legacy_2026, "select email_jsonb #>> '{0,email}' from public.contacts where id = 1") == [
        "a@b.example"
    ]
    with legacy_2026.transaction():
        legacy_2026.execute("alter table public.companies disable trigger user")
        legacy_2026.execute("update public.companies set size = 10")
        legacy_2026.execute("alter table public.companies enable trigger user")
    assert len(callouts(legacy_2026)) == 3


def test_2026_cleans_up_attachments_of_notes(legacy_2026: Connection) -> None:
    for table in ("deal_notes", "contact_notes"):
        legacy_2026.execute(f"update public.{table} set text = 'same files' where id = 1")
        legacy_2026.execute(f"update public.{table} set attachments = array['1'::jsonb] where id = 1")
        legacy_2026.execute(f"delete from public.{table} where id = 1")
    assert callouts(legacy_2026) == [
        "on_deal_notes_attachments_updated_delete_note_attachments",
        "on_deal_notes_deleted_delete_note_attachments",
        "on_contact_notes_attachments_updated_delete_note_attachments",
        "on_contact_notes_deleted_delete_note_attachments",
    ]


def test_activity_log_holds_every_row_of_five_tables(legacy_2026: Connection) -> None:
    found = dict(legacy_2026.execute("select type, count(*) from public.activity_log group by type").fetchall())
    tables = {
        "company.created": "companies",
        "contact.created": "contacts",
        "contactNote.created": "contact_notes",
        "deal.created": "deals",
        "dealNote.created": "deal_notes",
    }
    assert found == {
        kind: column(legacy_2026, f"select count(*) from public.{table}")[0] for kind, table in tables.items()
    }
    deal = column(legacy_2026, "select deal from public.activity_log where id = 'deal.1.created'")[0]
    assert list(deal) == STOCK_DEALS
