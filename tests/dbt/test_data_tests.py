"""Data tests asked without dbt: the same is found, by several tests in one scan as by each alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from crm_migrate import data_tests, dbt_process, failed_nodes, left_out
from crm_migrate import database as db
from crm_migrate.data_tests import DataTest
from crm_migrate.settings import Settings
from installation import Installation, built_templates, stock  # noqa: F401  # fixtures

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_what_is_asked_is_what_dbt_and_the_gates_do_not(stock: Installation) -> None:  # noqa: F811
    read = data_tests.read(stock.settings)
    with dbt_process.opened(stock.settings, dbt_process.BUILD_SCHEMA) as dbt:
        every = {key for key, node in dbt.manifest.nodes.items() if str(node.resource_type) == "test"}
        sources = {*left_out.source_nodes(dbt.manifest)}
        gates = {*left_out.tests_of_the_gates(dbt.manifest)}
        enforced = {*left_out.enforced_tests(dbt.manifest)}
        comparing = {*left_out.comparing_tests(dbt.manifest)}
    keys = [test.node.unique_id for test in read.all]
    assert len(keys) == len({*keys})
    assert {*keys} == every - enforced - gates
    assert {test.node.unique_id for test in read.sources} == (every & sources) - enforced - gates
    of_dry_run = data_tests.read(stock.settings, moving=True)
    assert {test.node.unique_id for test in of_dry_run.sources} == (every & sources) - enforced - comparing
    assert {test.node.unique_id for test in of_dry_run.built} == every - sources - enforced - gates - comparing
    assert data_tests.ask(stock.settings, of_dry_run.all) == len(of_dry_run.all)


def rows_that_fail(connection: Connection, query: sql.Composable) -> int:
    return int(db.scalar(connection, sql.SQL("select count(*) from ({}) as failing").format(query)))


def test_one_scan_finds_what_each_test_finds(stock: Installation) -> None:  # noqa: F811
    """Each test of one row is held against its own query over a table of the same columns, with rows good and bad."""
    connection = stock.connection
    connection.execute("create schema wrong")
    checked: list[str] = []
    for test in data_tests.read(stock.settings, moving=True).all:
        condition = test.condition
        if condition is None:
            continue
        checked.append(test.node.test_metadata.name)
        column = sql.SQL(test.node.test_metadata.kwargs["column_name"])
        own = sql.Identifier("wrong", test.node.alias[:40] + test.node.unique_id[-10:])
        connection.execute(sql.SQL("create table {} as select * from {} limit 20").format(own, sql.SQL(test.relation)))
        query = sql.SQL(test.query.replace(test.relation, own.as_string(connection)))
        found = sql.SQL("select from {} where {}").format(own, condition)
        assert (rows_that_fail(connection, query), rows_that_fail(connection, found)) == (0, 0), test.node.name
        values: dict[str, LiteralString] = {"not_null": "null", "accepted_values": "'no such word'"}
        connection.execute(sql.SQL("alter table {} alter {} type text").format(own, column))
        for bad in (1, 2):
            connection.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    own, column, sql.SQL(values[test.node.test_metadata.name])
                )
            )
            assert rows_that_fail(connection, found) == bad, test.node.name
            assert rows_that_fail(connection, query) > 0, test.node.name
    assert checked.count("not_null") > 20
    assert checked.count("accepted_values") > 5


def test_several_that_fail_are_told_as_dbt_tells_them(stock: Installation) -> None:  # noqa: F811
    connection = stock.connection
    tests = data_tests.read(stock.settings).all
    connection.execute(
        "update crm_build.int_companies__roles set organization_type = null, is_principal = null"
        " where company_id in (3, 4)"
    )
    with pytest.raises(failed_nodes.ChecksFailed) as failed:
        data_tests.ask(stock.settings, tests)
    told = {failure.node: failure.message for failure in failed.value.failures}
    with dbt_process.opened(stock.settings, dbt_process.BUILD_SCHEMA) as dbt:
        results = dbt.run("test", "--select", "test_name:not_null,int_companies__roles")
    assert told == {item.node.name: str(item.message) for item in results if str(item.status) == "fail"}
    assert len(told) == 2


def test_wrong_mapping_comes_before_what_is_made_of_it(stock: Installation) -> None:  # noqa: F811
    stock.connection.execute("alter table crm_build.stage_mapping drop constraint if exists stage_mapping_pkey")
    stock.connection.execute("update crm_build.stage_mapping set stage = null where legacy_stage = 'won'")
    with pytest.raises(failed_nodes.MappingRefused) as failed:
        data_tests.ask(stock.settings, data_tests.read(stock.settings).all)
    assert "stage_mapping.csv" in failed.value.what


@pytest.mark.parametrize(
    "change",
    [
        {"where": "company_id > 3"},
        {"severity": "warn"},
        {"fail_calc": "max(company_id)"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_test_that_wants_more_is_asked_by_itself(stock: Installation, change: dict[str, str]) -> None:  # noqa: F811
    test = next(
        one for one in data_tests.read(stock.settings).all if one.node.name.startswith("not_null_int_companies__roles")
    )
    assert test.condition is not None
    node = type(test.node).from_dict(test.node.to_dict())
    for name, value in change.items():
        setattr(node.config, name, value)
    changed = DataTest(node, test.query, test.relation)
    assert changed.condition is None or not changed.wants_no_row
