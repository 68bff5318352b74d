"""The table of the faults: which were tried how often, and how often they were survived.

A pytest plugin (tests/conftest.py names it), because with xdist the process that prints never loads a conftest.py below
`tests`. How a test takes part in it is told in tests/faults/conftest.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crm_migrate import paths

WHOLE = "CRM_FAULTS"
FILE = paths.PROJECT / ".crm-faults" / "table.txt"

FAULTS: Mapping[int, str] = {
    1: "SIGKILL of the program at a fault point",
    2: "SIGINT, SIGTERM",
    3: "the migration's backend killed",
    4: "immediate stop of the server",
    5: "connection lost right after COMMIT was sent",
    6: "network hangs without a reset",
    7: "deadlock, serialization failure",
    8: "somebody holds a lock on a legacy table",
    9: "disk full in the data directory",
    10: "disk full while backing up",
    11: "truncated or altered backup file",
    12: "rows that violate the target",
    13: "unmapped stage, broken mapping file",
    14: "dangling, null and duplicate ids",
    15: "values at the edge of the legacy types",
    16: "the application writes while locked",
    17: "two operators start at once",
    18: "the operator's machine dies while locked",
    19: "inputs changed between dry run, crash and resume",
    20: "a role that row level security hides rows from",
    21: "Soda errors, empty or missing checks",
    22: "mail server down, slow, or accepting twice",
    23: "crash inside rollback, unlock or archive purge",
    24: "rollback around the end of its window",
    25: "purge too early, twice, or on another database",
    26: "bulk update meets triggers that call out",
    27: "the installation's own views, policies and functions",
}


def whole() -> bool:
    """Whether every case is to be tried (`make faults`), or a sample that fits `make test`."""
    return os.environ.get(WHOLE) == "whole"


@dataclass
class Tally:
    """For a test that tries a fault many times by itself: what it counts stands in place of its own outcome."""

    counts: Counter[str] = field(default_factory=Counter)

    def tried(self, times: int = 1) -> None:
        """The fault happened."""
        self.counts["tried"] += times

    def survived(self, times: int = 1) -> None:
        """The oracle holds after it."""
        self.counts["survived"] += times


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts the tries of a test that tries its fault many times."""
    counted = Tally()
    yield counted
    request.node.user_properties.append(("tally", dict(counted.counts)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the outcome travel to whoever prints the table."""
    for marker in item.iter_markers("fault"):
        number = marker.kwargs.get("number", 0)
        name = marker.kwargs.get("name", FAULTS.get(number, item.path.stem))
        item.user_properties.append(("fault", (number, name)))


class Table:
    """Gathers the reports of the tests and prints the table."""

    def __init__(self) -> None:
        self.tried: Counter[tuple[int, str]] = Counter()
        self.survived: Counter[tuple[int, str]] = Counter()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        if report.when != "teardown":
            return
        properties: dict[str, Any] = {}
        rows = []
        for name, value in report.user_properties:
            if name == "fault" and isinstance(value, list | tuple):
                rows.append((int(value[0]), str(value[1])))
            else:
                properties[name] = value
        own = properties.get("tally")
        lost = report.nodeid in self.failed
        for row in rows:
            tried, survived = (1, 1) if own is None else (own.get("tried", 0), own.get("survived", 0))
            if lost and tried == survived:
                # what failed was not counted: a try of its own, or this one
                tried, survived = (1, 0) if own is None else (tried + 1, survived)
            self.tried[row] += tried
            self.survived[row] += survived

    def lines(self) -> list[str]:
        """The table, a row for each fault and name."""
        width = max((len(name) for _, name in self.tried), default=0)
        found = [f"{'#':>2}  {'fault':<{width}}  {'tried':>7}  {'survived':>8}"]
        for number, name in sorted(self.tried, key=lambda row: (row[0] or 99, row[1])):
            row = (number, name)
            found.append(f"{number or '':>2}  {name:<{width}}  {self.tried[row]:>7}  {self.survived[row]:>8}")
        found.append(f"    {'all':<{width}}  {self.tried.total():>7}  {self.survived.total():>8}")
        return found

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.tried or not whole():
            return
        lines = self.lines()
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
        _write(FILE, lines)


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that prints needs the table; xdist's workers send it their reports."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(), "fault_table_rows")
