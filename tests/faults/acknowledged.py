"""Oracle O8: nothing that was acknowledged is lost, and nothing was acknowledged while the lock was held."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

from crm_migrate import paths
from faults.writer import ACKNOWLEDGED, MISSING, UNKNOWN, Names

Connection = psycopg.Connection[Any]
Shape = Literal["legacy", "new"]
WAITING = 120.0

# what a writer may be told while the lock is held: sqlstate and a part of the message
FENCE = ("PT503", "The CRM is in maintenance")
ALLOWED = (
    FENCE,
    # the API's roles have lost their grants
    ("42501", "permission denied for"),
    ("", "is not permitted to log in"),
    ("57P01", "terminating connection due to administrator command"),
    # the same, when the reason is not read any more
    ("", "server closed the connection unexpectedly"),
)


@dataclass
class Expected:
    """What one row must hold: one of these, or (None) not be there."""

    table: str
    possible: list[dict[str, Any] | None]
    marker: str


@dataclass
class Journal:
    """What a writer wrote down, over one or several of its lives."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """As far as it is written."""
        journal = cls()
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            entry = json.loads(line)
            if "refused" not in entry:
                entry["at"] = datetime.fromisoformat(entry["at"]) if "at" in entry else None
                journal.entries.append(entry)
            elif "count" in entry:
                journal.refused[entry["refused"], entry["message"]] += entry["count"]
        return journal

    def acknowledged(self) -> list[dict[str, Any]]:
        """The writes whose COMMIT was answered."""
        return [entry for entry in self.entries if entry["outcome"] == ACKNOWLEDGED]

    def expected(self) -> dict[tuple[str, int], Expected]:
        """The state of each row after everything, by table and id."""
        rows: dict[tuple[str, int], Expected] = {}
        for entry in self.entries:
            if entry["outcome"] == MISSING:
                continue
            key = (entry["table"], entry["id"])
            if entry["op"] == "create":
                values = entry["values"]
                marker = values.get("name") or values.get("first_name") or values["text"]
                rows[key] = Expected(entry["table"], [None], marker)
            row = rows[key]
            after: list[dict[str, Any] | None] = (
                [None]
                if entry["op"] == "delete"
                else [{**(before or {}), **entry["values"]} for before in row.possible]
            )
            row.possible = after if entry["outcome"] == ACKNOWLEDGED else [*row.possible, *after]
        for row in rows.values():
            # a note goes with what it is on
            for parent_key, table in (("deal_id", "deals"), ("contact_id", "contacts")):
                parents = {values[parent_key] for values in row.possible if values and parent_key in values}
                for parent in parents:
                    on = rows[table, parent].possible
                    if None in on:
                        row.possible = [None] if on == [None] else [*row.possible, None]
        return rows


@contextmanager
def writing(dsn: str, generation: str, journal: Path, **options: float) -> Iterator[Writer]:
    """A writer at work within the block; it has ended, and written everything down, after it."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "faults.writer", "--dsn", dsn, "--generation", generation),
            *("--journal", str(journal), *words),
        ],
        cwd=paths.PROJECT / "tests",
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    began = time.monotonic()
    writer = Writer(process, journal)
    try:
        yield writer
    finally:
        _, said = process.communicate(timeout=60)
        writer.seconds = time.monotonic() - began
    assert process.returncode == 0, said


@dataclass
class Writer:
    """A running writer."""

    process: subprocess.Popen[str]
    journal: Path
    seconds: float = 0.0

    def wait_for(self, more: int) -> int:
        """Wait until so many more writes are acknowledged; their number now."""
        wanted = self.count() + more
        deadline = time.monotonic() + WAITING
        while (count := self.count()) < wanted:
            assert self.process.poll() is None, "the writer has ended"
            assert time.monotonic() < deadline, f"{count} of {wanted} writes in {WAITING:g} s"
            time.sleep(0.1)
        return count

    def count(self) -> int:
        """Acknowledged writes so far."""
        if not self.journal.exists():
            return 0
        return self.journal.read_text(encoding="utf-8").count(f'"outcome": "{ACKNOWLEDGED}"')


@dataclass(frozen=True)
class Window:
    """A time in which the lock was held, by the server's clock."""

    held: datetime
    releasing: datetime

    @classmethod
    def last(cls, connection: Connection) -> Window:
        """Of the lock that was released last."""
        row = connection.execute(
            "select held_at, releasing_at from crm_migration.lock where phase = 'released'"
        ).fetchone()
        assert row is not None, "the lock was not released"
        return cls(*row)


def fence_violations(journal: Journal, windows: Sequence[Window]) -> list[str]:
    """Writes that were accepted while the lock was held.

    The time of a write is the server's clock inside its statement. Whatever held the table's lock before the fence came
    has committed before it, so a write that is acknowledged and whose time lies in the window went through the fence.
    """
    return [
        f"{entry['op']} of {entry['table']} {entry['id']} by {entry['worker']} at {entry['at']}"
        for entry in journal.entries
        if entry["at"] is not None and any(window.held < entry["at"] < window.releasing for window in windows)
    ]


def unclear_errors(journal: Journal) -> list[str]:
    """Errors that are neither the fence's nor a refused login."""
    return [
        f"{count} × {state} {message}"
        for (state, message), count in journal.refused.items()
        if not any(state == known and part in message for known, part in ALLOWED)
    ]


def losses(connection: Connection, journal: Journal, generation: str, shape: Shape, seeds: Path) -> list[str]:
    """Acknowledged writes that are not there exactly once as they were written; and rows that nobody was told of."""
    found = [
        f"{e['op']} of {e['table']} {e['id']}: the row was gone" for e in journal.entries if e["outcome"] == MISSING
    ]
    expected = journal.expected()
    names = Names.of(generation)
    for table in ("deals", "contacts", names.deal_notes, names.contact_notes):
        wanted = {key: row for (of, key), row in expected.items() if of == table}
        for query in _queries(table, names, shape):
            found += [f"{table}: {problem}" for problem in _compare(_read(connection, query), wanted)]
    if shape == "new":
        found += _stages(connection, expected, seeds)
    return found


_DEALS = 'id, name, company_id, contact_ids, stage, amount, "index", description'
_OPPORTUNITIES = (
    'id, name, customer_organization_id as company_id, contact_ids, legacy_stage as stage, amount, "index", description'
)


def _queries(table: str, names: Names, shape: Shape) -> list[sql.Composed]:
    """The rows that writers made, where the shape has them; the compatibility views, too."""
    old = sql.Identifier("public", table)
    if table == "contacts":
        return [
            sql.SQL("select id, first_name, last_name, company_id, title from {} where last_name = 'Writer'").format(
                old
            )
        ]
    if table == "deals":
        queries = [sql.SQL("select {} from {} where name ~ '^deal .*-.*-'").format(sql.SQL(_DEALS), old)]
        if shape == "new":
            queries.append(
                sql.SQL("select {} from public.opportunities where name ~ '^deal .*-.*-'").format(
                    sql.SQL(_OPPORTUNITIES)
                )
            )
        return queries
    parent = sql.Identifier("deal_id" if table == names.deal_notes else "contact_id")
    queries = [sql.SQL("select id, {}, text from {} where text ~ '^note .*-.*-'").format(parent, old)]
    if shape == "new" and table == names.deal_notes:
        queries.append(
            sql.SQL(
                "select id, opportunity_id as deal_id, text from public.opportunity_notes where text ~ '^note .*-.*-'"
            ).format()
        )
    return queries


def _read(connection: Connection, query: sql.Composed) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(query).fetchall()


def _compare(rows: list[dict[str, Any]], wanted: dict[int, Expected]) -> list[str]:
    problems = []
    there: dict[int, dict[str, Any]] = {}
    for row in rows:
        key = row["id"]
        if key in there:
            problems.append(f"{key} is there twice")
        elif key not in wanted:
            problems.append(f"{key} is there and was never acknowledged")
        there[key] = row
    markers = Counter(row.get("name") or row.get("first_name") or row.get("text") for row in rows)
    problems += [f"{marker} is there {count} times" for marker, count in markers.items() if count > 1]
    for key, expected in wanted.items():
        has = there.get(key)
        if has is None:
            if None not in expected.possible:
                problems.append(f"{key} ({expected.marker}) is lost")
        elif not any(
            possible is not None and all(has[name] == value for name, value in possible.items())
            for possible in expected.possible
        ):
            problems.append(f"{key} ({expected.marker}) holds {has}, not {expected.possible}")
    return problems


def _stages(connection: Connection, expected: dict[tuple[str, int], Expected], seeds: Path) -> list[str]:
    """The enum follows the word that was written, and the company is the customer among the participants."""
    with (seeds / "stage_mapping.csv").open(encoding="utf-8") as file:
        mapping = {line["legacy_stage"]: line["stage"] for line in csv.DictReader(file)}
    rows = connection.execute(
        """
        select
            opportunities.id, opportunities.stage::text, opportunities.customer_organization_id,
            array_agg(participants.organization_id) filter (where participants.role = 'customer')
        from public.opportunities
        left join public.opportunity_participants as participants
            on participants.opportunity_id = opportunities.id and participants.deleted_at is null
        group by opportunities.id
        """
    ).fetchall()
    problems = []
    for key, stage, company, customers in rows:
        row = expected.get(("deals", key))
        if row is None:
            continue
        stages = {mapping[values["stage"]] for values in row.possible if values}
        if stage not in stages:
            problems.append(f"deals: {key} ({row.marker}) has the stage {stage}, not one of {stages}")
        if customers != [company]:
            problems.append(f"deals: {key} ({row.marker}) has the customers {customers}, not {company}")
    return problems


def summary(journal: Journal, seconds: float) -> str:
    """One line for whoever wants to know."""
    outcomes = Counter(entry["outcome"] for entry in journal.entries)
    refused = ", ".join(
        f"{count} × {state or 'login'} {message[:60]}" for (state, message), count in journal.refused.items()
    )
    return (
        f"{outcomes[ACKNOWLEDGED]} writes acknowledged in {seconds:.0f} s"
        f" ({outcomes[ACKNOWLEDGED] / seconds:.0f}/s), {outcomes[UNKNOWN]} unknown; refused: {refused or 'none'}"
    )
