"""Data tests that a build by the program leaves out: only those that the table itself enforces, and nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from crm_migrate import database as db
from crm_migrate import dbt_process, left_out
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
    left_out.mark(dbt.manifest, sources_built=True)
    assert listed(dbt, "--selector", "stage_1_by_the_program") == of_analyst["stage_1"] - enforced - sources
    # what the sources' own build asked
    assert sources <= of_analyst["sources_only"]
    left_out.mark(dbt.manifest, moving=True, sources_built=True)
    assert listed(dbt, "--selector", "stage_1_by_the_program") == of_analyst["stage_1"] - enforced - sources - comparing
