"""The shape of the database after the cutover: the written contract, keys, indexes, security."""

from __future__ import annotations

import difflib
from typing import Any

import psycopg
import pytest

from crm_migrate import schema_doc
from people import one, value

Connection = psycopg.Connection[Any]

NEW_TABLES = (
    "opportunities",
    "contact_organizations",
    "contact_preferred_principals",
    "opportunity_participants",
    "opportunity_products",
    "activities",
    "interaction_participants",
    "products",
    "principal_distributor_relationships",
)
NEW_VIEWS = (
    "opportunities_summary",
    "opportunities_with_participants",
    "principal_product_summary",
    "distributor_relationship_summary",
    "contact_influence_profile",
    "principal_advocacy_dashboard",
)
CALLS = (
    "add_contact_to_organization",
    "get_contact_organizations",
    "get_organization_contacts",
    "add_principal_advocacy",
    "create_opportunity_with_participants",
    "sync_opportunity_participants",
    "get_opportunity_with_participants",
    "log_engagement",
    "log_interaction",
    "add_product",
    "get_distributor_products",
    "get_principal_distributors",
)


def test_schema_is_the_written_contract(migrated_2026: Connection) -> None:
    written = schema_doc.FILE.read_text(encoding="utf-8")
    now = schema_doc.generate(migrated_2026)
    difference = "\n".join(
        difflib.unified_diff(written.splitlines(), now.splitlines(), "written", "now", lineterm="", n=1)
    )
    assert now == written, f"regenerate docs/schema.md:\n{difference[:4000]}"


def test_every_new_table_is_there_with_row_level_security(migrated_anywhere: Connection) -> None:
    found = migrated_anywhere.execute(
        "select relname::text, relrowsecurity from pg_catalog.pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'r' and relname = any(%s)",
        [list(NEW_TABLES)],
    ).fetchall()
    assert dict(found) == dict.fromkeys(NEW_TABLES, True)


def test_every_new_table_has_a_policy_for_each_command(migrated_anywhere: Connection) -> None:
    for table in NEW_TABLES:
        commands = {
            row[0]
            for row in migrated_anywhere.execute(
                "select cmd from pg_catalog.pg_policies where schemaname = 'public' and tablename = %s", [table]
            )
        }
        assert commands == {"ALL"} or commands >= {"SELECT", "INSERT", "UPDATE", "DELETE"}, table


def test_every_foreign_key_is_checked_and_has_an_index(migrated_anywhere: Connection) -> None:
    without = migrated_anywhere.execute(
        """
        select keys.conrelid::regclass::text, keys.conname::text, keys.convalidated
        from pg_catalog.pg_constraint as keys
        inner join pg_catalog.pg_class on pg_class.oid = keys.conrelid
        where keys.contype = 'f'
            and pg_class.relnamespace = 'public'::regnamespace
            and pg_class.relname = any(%s)
            and (
                not keys.convalidated
                or not exists (
                    select from pg_catalog.pg_index
                    where pg_index.indrelid = keys.conrelid
                        and pg_index.indkey[0] = keys.conkey[1]
                        and pg_index.indpred is null
                )
            )
        """,
        [list(NEW_TABLES)],
    ).fetchall()
    assert without == []


@pytest.mark.parametrize(
    ("table", "column", "parent", "on_delete"),
    [
        ("opportunities", "customer_organization_id", "companies", "c"),
        ("opportunities", "principal_organization_id", "companies", "n"),
        ("opportunities", "distributor_organization_id", "companies", "n"),
        ("opportunities", "sales_id", "sales", "n"),
        ("opportunity_notes", "opportunity_id", "opportunities", "c"),
        ("contact_organizations", "contact_id", "contacts", "c"),
        ("contact_organizations", "organization_id", "companies", "c"),
        ("opportunity_participants", "opportunity_id", "opportunities", "c"),
        ("opportunity_products", "product_id", "products", "n"),
        ("activities", "legacy_task_id", "tasks", "c"),
        ("activities", "created_by", "sales", "n"),
        ("interaction_participants", "activity_id", "activities", "c"),
        ("products", "principal_organization_id", "companies", "c"),
        ("principal_distributor_relationships", "distributor_organization_id", "companies", "c"),
    ],
)
def test_keys_delete_as_the_contract_says(
    migrated_2026: Connection, table: str, column: str, parent: str, on_delete: str
) -> None:
    found = one(
        migrated_2026,
        """
        select confrelid::regclass::text, confdeltype::text
        from pg_catalog.pg_constraint
        inner join pg_catalog.pg_attribute on attrelid = conrelid and attnum = conkey[1]
        where contype = 'f' and conrelid = ('public.' || %s)::regclass and attname = %s
        """,
        table,
        column,
    )
    assert found == (f"public.{parent}", on_delete)


def test_new_views_ask_as_the_one_who_reads(migrated_anywhere: Connection) -> None:
    found = migrated_anywhere.execute(
        "select relname::text, array_to_string(reloptions, ',') from pg_catalog.pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'v' and relname = any(%s)",
        [[*NEW_VIEWS, "deals", "deal_notes", "dealNotes"]],
    ).fetchall()
    assert len(found) == len(NEW_VIEWS) + 2
    assert {options for _, options in found} == {"security_invoker=true"}


def test_tables_have_no_option_that_only_the_build_needed(migrated_anywhere: Connection) -> None:
    found = migrated_anywhere.execute(
        "select relname::text, reloptions from pg_catalog.pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'r' and reloptions is not null"
    ).fetchall()
    assert found == []


def test_functions_have_a_fixed_search_path(migrated_anywhere: Connection) -> None:
    loose = migrated_anywhere.execute(
        "select proname::text from pg_catalog.pg_proc"
        " where (pronamespace = 'crm_compat'::regnamespace or proname = any(%s) and pronamespace ="
        " 'public'::regnamespace)"
        " and not coalesce(proconfig @> array['search_path=\"\"'], false)",
        [list(CALLS)],
    ).fetchall()
    assert loose == []


def test_calls_run_as_the_caller_and_only_for_people_logged_in(migrated_anywhere: Connection) -> None:
    found = migrated_anywhere.execute(
        """
        select
            proname::text,
            prosecdef,
            has_function_privilege('anon', oid, 'execute'),
            has_function_privilege('authenticated', oid, 'execute'),
            has_function_privilege('service_role', oid, 'execute'),
            obj_description(oid, 'pg_proc') is not null
        from pg_catalog.pg_proc
        where pronamespace = 'public'::regnamespace and proname = any(%s)
        """,
        [list(CALLS)],
    ).fetchall()
    assert sorted(found) == sorted((name, False, False, True, True, True) for name in CALLS)


def test_opportunities_continue_the_numbers_of_the_deals(migrated_anywhere: Connection) -> None:
    last = value(
        migrated_anywhere,
        "select greatest(max(id), pg_sequence_last_value(pg_get_serial_sequence('crm_archive.deals',"
        " 'id')::regclass))"
        " from crm_archive.deals",
    )
    made = value(migrated_anywhere, "insert into public.opportunities (name) values ('next') returning id")
    assert made == last + 1


def test_closing_date_has_the_type_that_the_legacy_column_had(migrated_anywhere: Connection) -> None:
    types = [
        value(
            migrated_anywhere,
            "select format_type(atttypid, atttypmod) from pg_catalog.pg_attribute where attrelid ="
            " %s::regclass and attname = %s",
            table,
            column,
        )
        for table, column in (
            ("crm_archive.deals", "expected_closing_date"),
            ("public.opportunities", "estimated_close_date"),
            ("public.deals", "expected_closing_date"),
        )
    ]
    assert len(set(types)) == 1


def test_mappings_are_readable_for_the_api(migrated_anywhere: Connection) -> None:
    for role in ("anon", "authenticated", "service_role"):
        assert value(migrated_anywhere, "select has_table_privilege(%s, 'crm_compat.stage_mapping', 'select')", role)
        assert not value(
            migrated_anywhere, "select has_table_privilege(%s, 'crm_compat.stage_mapping', 'insert')", role
        )
        assert not value(migrated_anywhere, "select has_table_privilege(%s, 'crm_compat.usage', 'select')", role)
