"""Columns that an installation added to deals arrive in the opportunities, exactly, whatever their type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate.settings import Settings
from dbt_builds import batches, begin, opportunities, value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


@pytest.fixture
def crm(legacy: Connection) -> Connection:
    """A CRM of either generation whose deals can be changed without its own triggers."""
    legacy.execute("set session_replication_role = replica")
    return legacy


def _build(crm: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(crm)
    begin(crm, settings)
    opportunities(settings)
    assert sum(batch[4] for batch in batches(crm)) == 0, "a row was rejected"


def _definition(crm: Connection, table: str, column: str) -> tuple[Any, ...] | None:
    return crm.execute(
        "select format_type(atttypid, atttypmod), attnotnull, attcollation, attidentity, attgenerated"
        " from pg_attribute where attrelid = %s::regclass and attname = %s",
        [table, column],
    ).fetchone()


EXTRAS = {
    "region": ("text collate \"C\" not null default 'north'", "'süd ''\\ \"x\" 😀'"),
    "score": ("numeric(12,3)", "123456789.125"),
    "raw": ("json", '\'{"b": 1,  "a": 1, "a": 2}\''),
    "doc": ("jsonb", "'{\"a\": [1, null]}'"),
    "labels": ("text[]", "array['a,b', null, '', '{}']"),
    "grid": ("integer[]", "'[0:1][2:3]={{1,2},{3,4}}'"),
    "ratio": ("double precision", "0.1 + 0.2"),
    "Mixed Case": ("boolean default true", "false"),
    "until": ("timestamptz", "'294276-12-31 23:59:59.999999+00'"),
}


def test_unknown_columns_arrive_with_type_default_and_value(crm: Connection, make_settings: MakeSettings) -> None:
    for name, (definition, example) in EXTRAS.items():
        crm.execute(f'alter table public.deals add column "{name}" {definition}')
        crm.execute(f'update public.deals set "{name}" = {example} where id % 3 = 0')
    _build(crm, make_settings)

    for name in EXTRAS:
        assert _definition(crm, "public.deals", name) == _definition(crm, "crm_build.opportunities", name), name
        different = value(
            crm,
            "select count(*) from public.deals join crm_build.opportunities using (id)"
            f' where row(deals."{name}")::record *<> row(opportunities."{name}")::record',
        )
        assert different == 0, name
    defaults = (
        "select pg_get_expr(adbin, adrelid) from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum"
        " where adrelid = '{}'::regclass and attname = 'region'"
    )
    assert value(crm, defaults.format("public.deals")) == value(crm, defaults.format("crm_build.opportunities"))


def test_citext_keeps_its_case(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    crm = legacy_2026
    crm.execute("set session_replication_role = replica")
    crm.execute("alter table public.deals add column code extensions.citext default 'AbC'")
    _build(crm, make_settings)
    assert value(crm, "select distinct code::text from crm_build.opportunities") == "AbC"


def test_generated_column_speaks_of_legacy_columns_and_still_does(crm: Connection, make_settings: MakeSettings) -> None:
    crm.execute(
        "alter table public.deals add column summary text"
        " generated always as (stage || '/' || coalesce(company_id::text, '-') || '/' || name) stored"
    )
    _build(crm, make_settings)
    assert (
        value(
            crm,
            "select count(*) from public.deals join crm_build.opportunities using (id)"
            " where deals.summary is distinct from opportunities.summary",
        )
        == 0
    )
    crm.execute("update crm_build.opportunities set legacy_stage = 'elsewhere'")
    assert value(crm, "select bool_and(summary like 'elsewhere/%') from crm_build.opportunities")


def test_identity_column_keeps_its_values(crm: Connection, make_settings: MakeSettings) -> None:
    crm.execute("alter table public.deals add column number bigint generated always as identity")
    _build(crm, make_settings)
    assert (
        value(
            crm,
            "select count(*) from public.deals join crm_build.opportunities using (id)"
            " where deals.number <> opportunities.number",
        )
        == 0
    )


def test_namesake_of_the_same_type_is_adopted(crm: Connection, make_settings: MakeSettings) -> None:
    crm.execute("alter table public.deals add column next_action text")
    crm.execute("update public.deals set next_action = 'call ' || id where id % 2 = 0")
    _build(crm, make_settings)
    assert (
        value(
            crm,
            "select count(*) from public.deals join crm_build.opportunities using (id)"
            " where deals.next_action is distinct from opportunities.next_action",
        )
        == 0
    )
    assert value(crm, "select count(*) from crm_build.opportunities where legacy_attributes is not null") == 0


@pytest.mark.parametrize(
    ("name", "definition", "example"),
    [
        ("next_action", "integer", "7"),
        ("status", "text", "'it''s \"open\"'"),
        ("probability", "smallint", "200"),
        ("deleted_at", "timestamptz", "'2024-03-31 02:30:00.123456+02'"),
        ("commission_amount", "double precision", "0.1 + 0.2"),
        ("competition", "text[]", "array['a,b', null]"),
        ("legacy_attributes", "json", '\'{"b": 1,  "a": 1, "a": 2}\''),
    ],
)
def test_namesake_of_another_meaning_goes_into_the_attributes_and_back(
    crm: Connection, make_settings: MakeSettings, name: str, definition: str, example: str
) -> None:
    crm.execute(f"alter table public.deals add column {name} {definition}")
    crm.execute(f"update public.deals set {name} = {example} where id % 2 = 0")
    _build(crm, make_settings)

    lost = value(
        crm,
        "select count(*) from public.deals join crm_build.opportunities using (id)"
        f" where row(deals.{name})::record"
        f" *<> row((opportunities.legacy_attributes ->> '{name}')::{definition})::record",
    )
    assert lost == 0
    assert value(crm, "select count(*) from crm_build.opportunities where legacy_attributes is not null") == value(
        crm, "select count(*) from public.deals where id % 2 = 0"
    )
    assert value(crm, "select count(*) from crm_build.opportunities where deleted_at is not null") == 0


def test_closing_date_has_the_type_of_this_installation(crm: Connection, make_settings: MakeSettings) -> None:
    crm.execute(
        "update public.deals set expected_closing_date = 'infinity' where id = (select min(id) from public.deals)"
    )
    _build(crm, make_settings)
    legacy_type = _definition(crm, "public.deals", "expected_closing_date")
    assert legacy_type == _definition(crm, "crm_build.opportunities", "estimated_close_date")
    assert (
        value(
            crm,
            "select count(*) from public.deals join crm_build.opportunities using (id)"
            " where deals.expected_closing_date is distinct from opportunities.estimated_close_date",
        )
        == 0
    )


def test_no_legal_value_is_rejected(crm: Connection, make_settings: MakeSettings) -> None:
    crm.execute(
        "update public.deals set amount = 9223372036854775807, \"index\" = 32767, stage = 'Won ',"
        " updated_at = '294276-12-31 23:59:59.999999+00', category = E'a\\nb''\\\\'"
        " where id = (select min(id) from public.deals)"
    )
    crm.execute(
        "update public.deals set amount = -9223372036854775808, stage = 'lost', updated_at = 'infinity',"
        " name = '', description = repeat('ش', 1000000)"
        " where id = (select max(id) from public.deals)"
    )
    _build(crm, make_settings)
    assert value(
        crm,
        "select bool_and(actual_close_date::text in ('294276-12-31', 'infinity')"
        " and deals.amount = opportunities.amount and deals.name = opportunities.name"
        " and deals.description is not distinct from opportunities.description)"
        " from public.deals join crm_build.opportunities using (id)"
        " where abs(deals.amount::numeric) > 1e18",
    )


def test_text_of_another_kind_keeps_its_type(crm: Connection, make_settings: MakeSettings) -> None:
    crm.execute("drop view if exists public.activity_log")
    crm.execute("create extension if not exists citext with schema extensions")
    kinds = {"name": "character varying(300)", "stage": "extensions.citext", "category": "character varying"}
    for name, kind in kinds.items():
        crm.execute(f"alter table public.deals alter column {name} type {kind}")
    crm.execute('alter table public.deals alter column description type text collate "C"')
    _build(crm, make_settings)

    collation = (
        "select attcollation::regcollation::text from pg_attribute where attrelid = %s::regclass and attname = %s"
    )
    assert db.scalar(crm, collation, ["crm_build.opportunities", "description"]) == '"C"'
    assert db.scalar(crm, collation, ["crm_build.opportunities", "category"]) == '"default"'

    for name, kind in kinds.items():
        definition = _definition(crm, "crm_build.opportunities", "legacy_stage" if name == "stage" else name)
        assert definition is not None
        assert definition[0] == kind
