"""What a server was asked, statement by statement, as its own log has it: every line is a round trip of some client.

What a function of the server does inside is one statement of its caller.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# settings of the server whose log this is
LOGGING: Mapping[str, str] = {
    "log_statement": "all",
    "log_line_prefix": "|%a|%d|%p|",
    "log_min_duration_statement": "-1",
    "autovacuum": "off",
}
# they come by the clock, or belong to programs of another version each
_NOT_OURS = ("crm-migrate resources", "crm-migrate pulse", "pg_dump", "pg_restore", "psql")
# psycopg forgets its prepared statements by itself: whether it has any depends on which connection was free for what
_OF_THE_DRIVER = "DEALLOCATE"
_LINE = re.compile(r"^\|(?P<program>.*)\|(?P<database>.*)\|(?P<backend>\d+)\|(?P<kind>LOG|DETAIL):  (?P<text>.*)$")
_STATEMENT = re.compile(r"^(?:statement|execute [^:]*): ")
_STEP_STARTS = "set state = 'running', attempts"
_STEP_NAME = re.compile(r"\$2 = '(\w+)'")


@dataclass(frozen=True)
class Statement:
    """One statement of one client."""

    program: str
    backend: int
    text: str
    parameters: str = ""


def read(log: Path, *, database: str, since: int = 0) -> Iterator[Statement]:
    """The statements that a database got since the log had so many characters."""
    current: Statement | None = None
    for line in log.read_text(encoding="utf-8", errors="replace")[since:].splitlines():
        found = _LINE.match(line)
        if found is None:
            if current is not None and line.startswith("\t"):
                current = Statement(current.program, current.backend, f"{current.text}\n{line[1:]}")
            continue
        if found["kind"] == "DETAIL":
            if current is not None:
                current = Statement(current.program, current.backend, current.text, found["text"])
            continue
        if current is not None:
            yield current
        said = _STATEMENT.match(found["text"])
        current = (
            Statement(found["program"], int(found["backend"]), found["text"][said.end() :])
            if said and found["database"] == database
            else None
        )
    if current is not None:
        yield current


def counted(log: Path, *, database: str, since: int = 0) -> Counter[str]:
    """How many statements each step of a run took on the connection that runs it, and each other program in all."""
    steps: dict[int, str] = {}
    counts: Counter[str] = Counter()
    for statement in read(log, database=database, since=since):
        if statement.program in _NOT_OURS or statement.text.startswith(_OF_THE_DRIVER):
            continue
        if _STEP_STARTS in statement.text:
            name = _STEP_NAME.search(statement.parameters)
            assert name is not None, statement
            steps[statement.backend] = name[1]
        step = steps.get(statement.backend)
        counts[f"step {step}" if step else f"beside, {statement.program}"] += 1
    return counts
