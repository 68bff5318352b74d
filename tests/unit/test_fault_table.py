"""The table of the faults counts what happened, and a failure never as survived."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from fault_table import Table


def report(
    name: str, when: Literal["setup", "call", "teardown"], *, passed: bool = True, **properties: Any
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=name,
        location=(name, None, name),
        keywords={},
        outcome="passed" if passed else "failed",
        longrepr=None,
        when=when,
        user_properties=list(properties.items()),
    )


def test_table_counts_outcomes_and_what_tests_count_themselves() -> None:
    table = Table()
    for name, passed in (("one", True), ("two", False)):
        table.pytest_runtest_logreport(report(name, "call", passed=passed))
        table.pytest_runtest_logreport(report(name, "teardown", fault=(8, "locks")))
    table.pytest_runtest_logreport(report("never set up", "setup", passed=False))
    table.pytest_runtest_logreport(report("never set up", "teardown", fault=(9, "disk")))
    counted = {"tried": 7, "survived": 7}
    table.pytest_runtest_logreport(report("three", "call", passed=False))
    table.pytest_runtest_logreport(report("three", "teardown", fault=(0, "any"), tally=counted))
    table.pytest_runtest_logreport(report("no fault", "teardown"))
    assert [line.split() for line in table.lines()[1:]] == [
        ["8", "locks", "2", "1"],
        ["9", "disk", "1", "0"],
        ["any", "8", "7"],
        ["all", "11", "8"],
    ]
