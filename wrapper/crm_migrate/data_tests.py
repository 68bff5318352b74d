"""The data tests of the models, compiled by dbt and asked without it, which takes longer for most than PostgreSQL does.

What several tests ask of each row of the same table is asked in one scan of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import sql

from crm_migrate import database, dbt_process, failed_nodes, left_out, parallel
from crm_migrate.database import Connection
from crm_migrate.dbt_process import BUILD_SCHEMA
from crm_migrate.settings import Settings

_FAILED = "The tests of what was built failed"
# of the kinds that look at one row by itself
_ARGUMENTS = {"not_null": {"column_name"}, "accepted_values": {"column_name", "values", "quote"}}


@dataclass(frozen=True)
class DataTest:
    """A data test as dbt knows it.

    Attributes:
        query: finds the rows that fail.
        relation: the one relation that it is attached to, as it is written in SQL; empty where there is none.
    """

    node: Any
    query: str
    relation: str = ""

    @property
    def wants_no_row(self) -> bool:
        """Whether it fails on the first row and on nothing else."""
        config = self.node.config
        plain = (str(config.severity).lower(), config.error_if, config.fail_calc, config.limit)
        return plain == ("error", "!= 0", "count(*)", None)

    @property
    def condition(self) -> sql.Composed | None:
        """What is true of a row of the relation that fails; None where the test is more than that."""
        asked = getattr(self.node, "test_metadata", None)
        if not self.relation or asked is None or asked.namespace or self.node.config.where:
            return None
        given = {name: value for name, value in asked.kwargs.items() if name != "model"}
        if not {*given} <= _ARGUMENTS.get(asked.name, set()):
            return None
        # as dbt puts it into its own query: quoted already, where the column wants it
        column = sql.SQL(given["column_name"])
        if asked.name == "not_null":
            return sql.SQL("{} is null").format(column)
        if not given.get("quote", True) or not given["values"]:
            return None
        values = sql.SQL(", ").join(sql.Literal(str(value)) for value in given["values"])
        return sql.SQL("{} not in ({})").format(column, values)


@dataclass(frozen=True)
class DataTests:
    """All that a run asks.

    Attributes:
        sources: of mappings and staging, asked when these are there.
        built: of what is built from them.
    """

    sources: tuple[DataTest, ...]
    built: tuple[DataTest, ...]

    @property
    def all(self) -> tuple[DataTest, ...]:
        """Both."""
        return self.sources + self.built


def read(settings: Settings, *, schema: str = BUILD_SCHEMA, moving: bool = False) -> DataTests:
    """The data tests that a run asks, compiled for this database; nothing has to be built yet.

    What gates ask, too, is left to them; but a dry run asks it of the sources, where it says most.

    Args:
        moving: people work meanwhile, as `left_out.mark` has it.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    with dbt_process.opened(settings, schema) as dbt:
        left_out.mark(dbt.manifest, moving=moving)
        # of the tests themselves, not of what is beside them
        found = dbt.run(
            *("compile", "--select", "test_type:data", "--exclude", f"tag:{left_out.TAG}"),
            *("--indirect-selection", "empty"),
        )
        sources = {*left_out.source_nodes(dbt.manifest)}
        gates = {*left_out.tests_of_the_gates(dbt.manifest)}
        relations = {key: node.relation_name for key, node in dbt.manifest.nodes.items()}
    tests = {
        item.node.unique_id: DataTest(
            item.node, str(item.node.compiled_code), relations.get(getattr(item.node, "attached_node", None)) or ""
        )
        for item in found
    }
    return DataTests(
        tuple(test for key, test in tests.items() if key in sources and (moving or key not in gates)),
        tuple(test for key, test in tests.items() if key not in sources and key not in gates),
    )


def ask(settings: Settings, tests: Sequence[DataTest], *, schema: str = BUILD_SCHEMA) -> int:
    """Ask tests of what is there, two queries at a time; returns how many tests were asked.

    A test that wants more than that no row is found is left to dbt.

    Raises:
        TransformFailed: one of its subclasses says what to do about it.
    """
    own = [test for test in tests if test.wants_no_row]
    together: dict[str, list[DataTest]] = defaultdict(list)
    for test in own:
        if test.condition is not None:
            together[test.relation].append(test)
    alone = [test for test in own if test.condition is None]
    # those that read several tables take longest
    alone.sort(key=lambda test: -len(test.node.depends_on.nodes))
    found = parallel.run(
        settings,
        [partial(_failing, [test]) for test in alone]
        + [partial(_failing_in_one_scan, same) for same in together.values()],
        session={"search_path": f"{schema}, public, extensions", "jit": "off", "work_mem": "64MB"},
        application="crm-migrate data tests",
    )
    rows = {name: count for piece in found for name, count in piece.items()}
    failures = [
        failed_nodes.failure(test.node, f"Got {count} result{'s' if count > 1 else ''}, configured to fail if != 0")
        for test in own
        if (count := rows[test.node.unique_id])
    ]
    if failures:
        # what is wrong in a mapping file is wrong in what is made of it
        raise failed_nodes.error(sorted(failures, key=lambda one: not one.seeds), _FAILED)
    others = [test.node.name for test in tests if not test.wants_no_row]
    if others:
        with dbt_process.opened(settings, schema) as dbt:
            results = dbt.run("test", "--select", *others)
        failed_nodes.refuse(results, _FAILED)
    return len(tests)


def _failing(tests: Sequence[DataTest], connection: Connection) -> dict[str, int]:
    query = sql.SQL("select count(*) from (\n{}\n) as failing")
    return {test.node.unique_id: int(database.scalar(connection, query.format(sql.SQL(test.query)))) for test in tests}


def _failing_in_one_scan(tests: Sequence[DataTest], connection: Connection) -> dict[str, int]:
    # what fails is asked again by its own query, which counts in its own way
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) filter (where {}) > 0").format(test.condition) for test in tests if test.condition is not None
    )
    found = database.scalar(connection, sql.SQL("select array[{}] from {}").format(counts, sql.SQL(tests[0].relation)))
    passing = {test.node.unique_id: 0 for test in tests}
    return passing | _failing([test for test, fails in zip(tests, found, strict=True) if fails], connection)
