"""Data tests that a build by the program leaves out: only those that the table itself enforces, and nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from crm_migrate import database as db
from crm_migrate import dbt_process, gate_checks, left_out, legacy
from crm_migrate.dbt_process import Dbt
from installation import Installation, built_templates, stock  # noqa: F401  # fixtures

SELECTORS = ("sources_only", "stage_1", "stage_1_5")
ENFORCED: dict[str, LiteralString] = {
    "not_null": "select attnotnull from pg_catalog.pg_attribute where attrelid = %s::regclass and attname = %s",
    "unique": """
        select exists (
            select
            from pg_catalog.pg_index
            inner join pg_catalog.pg_attribute on attrelid = indrelid and attnum = indkey[0]
            where indrelid = %s::regclass and attname = %s and indnatts = 1
                and indisunique and indisvalid and indimmediate and indpred is null and indexprs is null
        )
    """,
}


@pytest.fixture
def dbt(stock: Installation) -> Iterator[Dbt]:  # noqa: F811
    with dbt_process.opened(stock.settings, dbt_process.BUILD_SCHEMA) as opened:
        yield opened


def listed(dbt: Dbt, *command: str) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in dbt.invoke("ls", *command, "--exclude-resource-type", "unit_test")}


def test_what_is_left_out_is_enforced_by_the_table_that_was_built(stock: Installation, dbt: Dbt) -> None:  # noqa: F811
    enforced = [dbt.manifest.nodes[key] for key in left_out.enforced_tests(dbt.manifest)]
    assert len(enforced) > 20
    for node in enforced:
        kind, table = node.test_metadata.name, dbt.manifest.nodes[node.attached_node].name
        values = [f"crm_build.{table}", node.column_name]
        assert db.scalar(stock.connection, ENFORCED[kind], values), node.name


@contextlib.contextmanager
def without_constraints(model: Any) -> Iterator[None]:
    """The model as somebody may write it tomorrow: its contract and its indexes enforce nothing."""
    own = {column.name: column.constraints for column in model.columns.values()}
    whole, indexes = model.constraints, model.config.extra.get("indexes")
    try:
        for column in model.columns.values():
            column.constraints = []
        model.constraints = []
        model.config.extra["indexes"] = [{**index, "unique": False} for index in indexes or []]
        yield
    finally:
        for column in model.columns.values():
            column.constraints = own[column.name]
        model.constraints = whole
        model.config.extra["indexes"] = indexes


def test_without_the_constraint_it_is_asked_again(dbt: Dbt) -> None:
    before = set(left_out.enforced_tests(dbt.manifest))
    for key in before:
        model = dbt.manifest.nodes[dbt.manifest.nodes[key].attached_node]
        with without_constraints(model):
            assert key not in set(left_out.enforced_tests(dbt.manifest)), key
    assert set(left_out.enforced_tests(dbt.manifest)) == before


def test_program_leaves_out_what_is_tagged_and_an_analyst_nothing(dbt: Dbt) -> None:
    left_out.mark(dbt.manifest)
    enforced = {dbt.manifest.nodes[key].name for key in left_out.enforced_tests(dbt.manifest)}
    of_analyst = {selector: listed(dbt, "--selector", selector) for selector in SELECTORS}
    assert enforced < of_analyst["stage_1"] | of_analyst["stage_1_5"]
    assert enforced < listed(dbt)
    for selector, nodes in of_analyst.items():
        assert listed(dbt, "--selector", f"{selector}_by_the_program") == nodes - enforced
    sources = {dbt.manifest.nodes[key].name for key in left_out.source_nodes(dbt.manifest)}
    comparing = {dbt.manifest.nodes[key].name for key in left_out.comparing_tests(dbt.manifest)}
    assert {"stage_mapping", "stg_legacy__deals", "unique_stg_legacy__deals_deal_id"} < sources
    assert "contact_has_at_most_one_primary_organization" not in comparing
    assert "employer_is_the_primary_organization" in comparing - sources
    # what the sources' own build asked
    assert sources <= of_analyst["sources_only"]
    gate = {dbt.manifest.nodes[key].name for key in left_out.tests_of_the_gates(dbt.manifest)}
    left = enforced | sources | gate
    left_out.mark(dbt.manifest, within_run=True)
    assert listed(dbt, "--selector", "stage_1_by_the_program") == of_analyst["stage_1"] - left
    left_out.mark(dbt.manifest, moving=True, within_run=True)
    assert listed(dbt, "--selector", "stage_1_by_the_program") == of_analyst["stage_1"] - left - comparing


OF_STAGING = ("companies", "contacts", "deals", "tasks", "deal_notes", "contact_notes")
# what makes the test fail must make the check of the gate fail that takes its place
SABOTAGE: dict[str, str] = {
    "contact_has_at_most_one_primary_organization": "insert into crm_build.contact_organizations"
    " (contact_id, organization_id, is_primary_organization, origin) select contact_id, other.company_id, true, 'deal'"
    " from crm_build.contact_organizations as links cross join lateral (select company_id from"
    " crm_build.stg_legacy__companies as companies where companies.company_id not in (select organization_id from"
    " crm_build.contact_organizations as own where own.contact_id = links.contact_id) limit 1) as other"
    " where is_primary_organization limit 1",
    "contact_is_linked_to_an_organization_once": "insert into crm_build.contact_organizations"
    " (contact_id, organization_id, is_primary_organization, origin)"
    " select contact_id, organization_id, false, origin from crm_build.contact_organizations limit 1",
    "opportunity_has_one_primary_participant_per_role": "insert into crm_build.opportunity_participants"
    " (opportunity_id, organization_id, role, is_primary, origin) select opportunity_id, organization_id, role, true,"
    " origin from crm_build.opportunity_participants where is_primary limit 1",
    "pair_has_at_most_one_active_relationship": "insert into crm_build.principal_distributor_relationships"
    " (principal_organization_id, distributor_organization_id, status, origin) select principal_organization_id,"
    " distributor_organization_id, 'active', origin from crm_build.principal_distributor_relationships"
    " where status = 'active' limit 1",
    "unique_activities_legacy_task_id": "insert into crm_build.activities (activity_type, contact_id, legacy_task_id)"
    " select activity_type, contact_id, legacy_task_id from crm_build.activities limit 1",
    "relationships_contact_organizations_contact_id": "update crm_build.contact_organizations set contact_id = -1"
    " where id = (select max(id) from crm_build.contact_organizations)",
    "relationships_contact_organizations_organization_id": "update crm_build.contact_organizations"
    " set organization_id = -1 where id = (select max(id) from crm_build.contact_organizations)",
    "relationships_opportunity_participants_opportunity_id": "update crm_build.opportunity_participants"
    " set opportunity_id = -1 where id = (select max(id) from crm_build.opportunity_participants)",
    "relationships_opportunity_participants_organization_id": "update crm_build.opportunity_participants"
    " set organization_id = -1 where id = (select max(id) from crm_build.opportunity_participants)",
    "relationships_activities_contact_id": "update crm_build.activities set contact_id = -1"
    " where id = (select max(id) from crm_build.activities)",
    "relationships_activities_organization_id": "update crm_build.activities set organization_id = -1"
    " where id = (select max(id) from crm_build.activities)",
    "employer_is_the_primary_organization": "update crm_build.contact_organizations set is_primary_organization = true"
    " where id = (select max(id) from crm_build.contact_organizations where origin = 'deal' and contact_id in"
    " (select contact_id from crm_build.stg_legacy__contacts where company_id is not null))",
    "participants_are_the_organizations_of_their_opportunity": "update crm_build.opportunity_participants"
    " set role = 'partner' where id = (select max(id) from crm_build.opportunity_participants)",
    "task_has_exactly_one_fate": "insert into crm_migration.rejected_records"
    " (run_id, model, key_value, batch_no, sqlstate, message, source_row)"
    " select run_id, 'activities', (select max(legacy_task_id) from crm_build.activities), 1, '23514', '', '{{}}'"
    " from crm_migration.builds where schema_name = 'crm_build'",
    **{
        f"unique_stg_legacy__{table}_": f"insert into public.{{{table}}} overriding system value"
        f" select * from public.{{{table}}} limit 1"
        for table in OF_STAGING
    },
}


WITHOUT_KEYS = """
    do $$
    declare
        found record;
    begin
        for found in
            select format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement
            from pg_catalog.pg_constraint where connamespace = 'crm_build'::regnamespace and contype = 'f'
            union all
            select format('drop index %s', indexrelid::regclass)
            from pg_catalog.pg_index inner join pg_catalog.pg_class on pg_class.oid = indrelid
            where relnamespace = 'crm_build'::regnamespace and indisunique and not indisprimary
            union all
            select format('alter table %s drop constraint %I cascade', conrelid::regclass, conname)
            from pg_catalog.pg_constraint where connamespace = 'public'::regnamespace and contype = 'p'
        loop
            execute found.statement;
        end loop;
    end
    $$
"""


def test_gate_finds_whatever_makes_a_test_fail_that_is_left_to_it(stock: Installation) -> None:  # noqa: F811
    connection = stock.connection
    with dbt_process.opened(stock.settings, dbt_process.BUILD_SCHEMA) as dbt:
        of_gate = {dbt.manifest.nodes[key].name: id for key, id in left_out.tests_of_the_gates(dbt.manifest).items()}
        results = dbt.run("test", "--select", *of_gate)
    asked = [item for item in results if item.node.name in of_gate]
    checks = {check.id: check.query for check in (*gate_checks.read("source"), *gate_checks.read("target"))}
    assert {item.node.name: str(item.status) for item in asked} == dict.fromkeys(of_gate, "pass")
    found = legacy.detect(connection)
    tables = {table: f'"{found.table(table)}"' for table in OF_STAGING}
    connection.execute(WITHOUT_KEYS)
    assert len(SABOTAGE) == len(asked)
    for item in asked:
        name, test, check = item.node.name, item.node.compiled_code, checks[of_gate[item.node.name]]
        sabotage = next(query for start, query in SABOTAGE.items() if name.startswith(start))
        with connection.transaction(force_rollback=True):
            for query in (test, check):
                assert connection.execute(query.encode()).fetchall() == [], name
            assert connection.execute(sabotage.format_map(tables).encode()).rowcount == 1, name
            for query in (test, check):
                assert connection.execute(query.encode()).fetchall() != [], f"{name}, {of_gate[name]}"
