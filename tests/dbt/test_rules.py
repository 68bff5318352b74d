"""The mapping rules, on a real database of each generation, as an analyst would build it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import database as db
from crm_migrate import demo_data, paths, seeds
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

Connection = psycopg.Connection[Any]

SCHEMA = "crm_build_rules"
MARTS = {
    "company_classifications": "company_id",
    "contact_organizations": "id",
    "contact_preferred_principals": "id",
    "opportunity_participants": "id",
    "opportunity_products": "id",
    "activities": "id",
    "interaction_participants": "id",
    "products": "id",
    "principal_distributor_relationships": "id",
}
EDGES = """
    -- some installations allow tasks without contact
    alter table public.tasks alter column contact_id drop not null;
    set session_replication_role = replica;
    insert into public.companies (id, created_at, name) values
        (900001, '2020-01-01', 'Prima'), (900002, '2020-01-02', 'Dista'), (900003, '2020-01-03', 'Both'),
        (900004, '2020-01-04', 'Idle'), (900005, '2020-01-05', 'Buyer');
    insert into public.contacts (id, first_name, company_id, first_seen) values
        (0, 'Zero', 900001, null), (900001, 'Free', null, '2021-01-01'), (900002, 'Own', 900005, '2021-01-02');
    insert into public.deals (id, name, company_id, contact_ids, category, stage, created_at, updated_at) values
        (900001, 'a', 900002, '{0, 0, 900001, 987654321, null}', ' Special ', 'won', '2022-01-01', '2022-06-01'),
        (900002, 'b', 900005, '{900001, 900002}', 'none of them', 'won', '2022-01-02', '2022-06-01'),
        (900003, 'c', 900003, '{}', null, 'won', '2022-01-03', '2022-06-01'),
        (900004, 'd', null, '{900001}', 'special', 'won', '2022-01-04', '2023-06-01');
    insert into public.tasks (id, contact_id, type, text, due_date, done_date) values
        (900001, 0, ' CALL ', 'done', '2022-01-01', '2022-01-02'),
        (900002, 900001, 'juggle', 'open', '2022-01-01', null),
        (900003, null, 'call', 'nobody', '2022-01-01', null);
    set session_replication_role = origin;
"""
ROLES = "900001,,,principal,9\n900002,,,distributor,11\n,Both,,principal,\n,Both,,distributor,6\n"


@pytest.fixture(scope="module", params=["2025", "2026"])
def built(
    request: pytest.FixtureRequest, postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """A legacy CRM with the edges above, and all that dbt builds of it."""
    template: str = request.getfixturevalue(f"template_{request.param}")
    folder = tmp_path_factory.mktemp("rules")
    name = sql.Identifier(f"rules_{request.param}")
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(name, sql.Identifier(template)))
        with db.connect(Settings(dsn=postgres.dsn(f"rules_{request.param}"))) as connection:
            prepare(connection, folder)
            yield connection
        admin.execute(sql.SQL("drop database {} with (force)").format(name))


def prepare(connection: Connection, folder: Path) -> None:
    mapping = demo_data.demo_seeds(connection, folder / "seeds")
    connection.execute(EDGES)
    with (mapping / "company_roles.csv").open("a", encoding="utf-8") as file:
        file.write(ROLES)
    with (mapping / "category_principals.csv").open("a", encoding="utf-8") as file:
        file.write("special,900001,\n")
    assert seeds.check(connection, mapping) == []
    before = seeds.fingerprint(mapping)
    build(connection, mapping, folder)
    assert seeds.fingerprint(mapping) == before, "dbt changed the analyst's files"
    first = hashes(connection)
    build(connection, mapping, folder, "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
    assert hashes(connection) == first, "two builds of the same rows differ"


def build(connection: Connection, mapping: Path, folder: Path, *arguments: str) -> None:
    """`dbt build` in a process of its own, with models, data tests and unit tests."""
    info = connection.info
    environment = os.environ | {
        "PGHOST": info.host,
        "PGPORT": str(info.port),
        "PGUSER": info.user,
        "PGDATABASE": info.dbname,
        "CRM_MIGRATE_BUILD_SCHEMA": SCHEMA,
        "CRM_MIGRATE_SEEDS_DIR": str(mapping),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    dbt = Path(sys.executable).with_name("dbt")
    target = ["--target-path", str(folder / "target"), "--log-path", str(folder / "log")]
    result = subprocess.run(
        [dbt, "build", *arguments, *target], cwd=paths.DBT_PROJECT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-4000:]


def hashes(connection: Connection) -> dict[str, str | None]:
    """A hash of the text of all rows, mart by mart."""
    query = "select md5(string_agg(mart::text, chr(10) order by {key})) from {schema}.{mart} as mart"
    return {
        mart: connection.execute(
            sql.SQL(query).format(key=sql.Identifier(key), schema=sql.Identifier(SCHEMA), mart=sql.Identifier(mart))
        ).fetchone()[0]  # type: ignore[index]
        for mart, key in MARTS.items()
    }


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    connection.execute(f"set search_path = {SCHEMA}")
    return connection.execute(query.encode()).fetchall()


def test_companies_are_what_the_mapping_says_else_customer_or_prospect(built: Connection) -> None:
    query = """
        select company_id, organization_type::text, is_principal, is_distributor
        from company_classifications where company_id > 900000 order by company_id
    """
    assert rows(built, query) == [
        (900001, "principal", True, False),
        (900002, "distributor", False, True),
        (900003, "principal", True, True),
        (900004, "prospect", False, False),
        (900005, "customer", False, False),
    ]


def test_deals_have_the_parties_and_the_commission_of_the_rules(built: Connection) -> None:
    query = """
        select id, customer_organization_id, principal_organization_id, distributor_organization_id, commission_percent
        from opportunities where id > 900000 order by id
    """
    assert rows(built, query) == [
        (900001, 900002, 900001, 900002, 11),
        (900002, 900005, None, None, None),
        (900003, 900003, 900003, 900003, 6),
        (900004, None, 900001, None, 9),
    ]


def test_participants_are_the_parties_each_in_its_role(built: Connection) -> None:
    query = """
        select opportunity_id, organization_id, role::text, is_primary, origin
        from opportunity_participants where opportunity_id > 900000 order by id
    """
    assert rows(built, query) == [
        (900001, 900002, "customer", True, "deal"),
        (900001, 900001, "principal", True, "deal"),
        (900001, 900002, "distributor", True, "deal"),
        (900002, 900005, "customer", True, "deal"),
        (900003, 900003, "customer", True, "deal"),
        (900003, 900003, "principal", True, "deal"),
        (900003, 900003, "distributor", True, "deal"),
        (900004, 900001, "principal", True, "deal"),
    ]


def test_contacts_are_linked_by_employment_and_by_deals(built: Connection) -> None:
    query = """
        select contact_id, organization_id, is_primary_organization, origin, created_at::date::text
        from contact_organizations where organization_id > 900000 order by contact_id, organization_id
    """
    assert rows(built, query) == [
        (0, 900001, True, "employer", "2020-01-01"),
        (0, 900002, False, "deal", "2022-01-01"),
        # updated at the same time: the later deal counts
        (900001, 900002, False, "deal", "2022-01-01"),
        (900001, 900005, True, "deal", "2022-01-02"),
        (900002, 900005, True, "employer", "2021-01-02"),
    ]


def test_tasks_become_engagements_and_one_without_contact_is_excluded(built: Connection) -> None:
    query = """
        select id, legacy_task_id, activity_type::text, interaction_type::text, contact_id, organization_id,
            activity_date::date::text, follow_up_required, follow_up_date::date::text, description
        from activities where id > 900000 order by id
    """
    assert rows(built, query) == [
        (900001, 900001, "engagement", "call", 0, 900001, "2022-01-02", False, None, "done"),
        (900002, 900002, "engagement", None, 900001, None, None, True, "2022-01-01", "open"),
    ]
    assert rows(built, "select row_key, rule from int_excluded_rows where row_key > 900000") == [
        (900003, "task_without_contact")
    ]
    assert rows(built, "select id from int_tasks__activities where is_unmapped_type and id > 900000") == [(900002,)]


def test_pairs_seen_on_deals_are_relationships_but_not_with_oneself(built: Connection) -> None:
    query = """
        select principal_organization_id, distributor_organization_id, status::text,
            commission_percent, origin, evidence
        from principal_distributor_relationships
        where principal_organization_id > 900000 or distributor_organization_id > 900000
    """
    assert rows(built, query) == [(900001, 900002, "active", 11, "opportunity", 1)]


def test_agreements_are_relationships_and_give_their_commission(built: Connection) -> None:
    agreements = rows(built, "select count(*) from principal_distributor_agreements")
    assert (
        rows(built, "select count(*) from principal_distributor_relationships where origin = 'agreement'") == agreements
    )
    query = """
        select count(*)
        from opportunities
        inner join principal_distributor_relationships as relationships
            using (principal_organization_id, distributor_organization_id)
        where relationships.origin = 'agreement'
            and opportunities.commission_percent <> relationships.commission_percent
    """
    assert rows(built, query) == [(0,)]


def test_new_rows_get_the_defaults_of_the_contract(built: Connection) -> None:
    query = """
        select table_name, column_name, column_default
        from information_schema.columns
        where table_schema = current_schema() and table_name in ('contact_organizations', 'opportunity_products')
            and column_default is not null and column_default not like 'now%'
        order by 1, 2
    """
    assert rows(built, query) == [
        ("contact_organizations", "is_primary_contact", "false"),
        ("contact_organizations", "is_primary_decision_maker", "false"),
        ("contact_organizations", "is_primary_organization", "false"),
        ("contact_organizations", "origin", "'manual'::text"),
        ("contact_organizations", "purchase_influence", "'Unknown'::text"),
        ("opportunity_products", "discount_percent", "0"),
        ("opportunity_products", "quantity", "1"),
        ("opportunity_products", "unit_price", "0"),
    ]
