"""An application at work: several connections that create, move, note and delete, and write down what was acknowledged.

A program of its own, so that it shares nothing with the migration that it disturbs:

    python -m faults.writer --dsn … --generation 2026 --journal FILE [--connections 4] [--owners 1] [--pause 0]

It logs in as `authenticator` and takes the role `authenticated` in each transaction, as the API does; `--owners` more
connections are the owner's, such as a nightly import has them, whom only the fence can stop. It speaks the old names
all the time, connects again after an error, and never pauses unless told to. It ends when its standard input ends.

A row belongs to one connection, so the order of what happened to it is known. After each answer to a COMMIT one line of
JSON goes to the journal: what was written, and the server's clock at the moment of writing. A COMMIT whose answer got
lost is written down as unknown, and its row is not touched again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

ACKNOWLEDGED, UNKNOWN, MISSING = "acknowledged", "unknown", "missing"
STAGES = ("opportunity", "proposal-sent", "in-negociation", "won", "lost", "delayed")
MOVES = 3
KEPT = 40
_INDEXES = 30_000


@dataclass(frozen=True)
class Names:
    """Tables that the generations call differently."""

    deal_notes: str
    contact_notes: str

    @classmethod
    def of(cls, generation: str) -> Names:
        """As the front end of this generation has them."""
        return cls("dealNotes", "contactNotes") if generation == "2025" else cls("deal_notes", "contact_notes")


@dataclass
class Row:
    """A row that this connection has made: what is known of it, and the notes on it."""

    key: int
    values: dict[str, Any]
    notes: list[Row] = field(default_factory=list)


class Journal:
    """One line for each acknowledged or unknown write; errors are counted, and their first is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._refused: Counter[tuple[str, str]] = Counter()

    def write(self, **entry: Any) -> None:
        """Append a line."""
        with self._lock:
            self._file.write(json.dumps(entry, default=str) + "\n")
            self._file.flush()

    def refused(self, who: str, error: psycopg.Error) -> None:
        """Count an error that the server gave instead of an acknowledgement."""
        text = str(error).strip() or type(error).__name__
        # the address and the attempt differ from time to time
        message = error.diag.message_primary or text.rsplit("FATAL:", 1)[-1].strip().splitlines()[0]
        key = (error.sqlstate or "", message)
        with self._lock:
            self._refused[key] += 1
            first = self._refused[key] == 1
        if first:
            self.write(refused=key[0], message=message, by=who)

    def close(self) -> None:
        """Write how often each error was seen."""
        for (state, message), count in self._refused.items():
            self.write(refused=state, message=message, count=count)
        self._file.close()


class Worker(threading.Thread):
    """One connection of the application."""

    def __init__(self, number: int, dsn: str, names: Names, journal: Journal, *, as_api: bool, pause: float) -> None:
        super().__init__(name=f"{'api' if as_api else 'owner'} {number}", daemon=True)
        self.dsn = dsn
        self.names = names
        self.journal = journal
        self.as_api = as_api
        self.pause = pause
        self.stop_asked = threading.Event()
        self.random = random.Random(number)
        self.token = f"{uuid.uuid4().hex[:8]}-{number}"
        self.made = 0
        self.deals: list[Row] = []
        self.contacts: list[Row] = []
        self.connection: psycopg.Connection[Any] | None = None
        self.claims = ""
        self.companies: list[int] = []
        self.people: list[int] = []

    def run(self) -> None:
        """Write until told to stop."""
        while not self.stop_asked.is_set():
            if self.pause:
                self.stop_asked.wait(self.pause)
            try:
                if self.connection is None:
                    self._connect()
                self._something()
            except psycopg.Error as error:
                self.journal.refused(self.name, error)
                # the application's pool throws the connection away; an import keeps it as long as it lives
                if self.connection is not None and (self.as_api or self.connection.broken):
                    self.connection.close()
                    self.connection = None
        if self.connection is not None:
            self.connection.close()

    def _connect(self) -> None:
        self.connection = psycopg.connect(self.dsn, application_name=f"writer {self.name}", connect_timeout=10)
        if self.companies:
            return
        with self.connection.transaction():
            self._take_role()
            self.companies = self._ids("select id from public.companies order by id limit 50")
            self.people = self._ids("select id from public.contacts order by id limit 50")
            row = self.connection.execute("select user_id::text from public.sales order by id limit 1").fetchone()
            self.claims = json.dumps({"sub": row[0] if row else None, "role": "authenticated"})

    def _ids(self, query: LiteralString) -> list[int]:
        assert self.connection is not None
        return [row[0] for row in self.connection.execute(query)]

    def _take_role(self) -> None:
        assert self.connection is not None
        if self.as_api:
            self.connection.execute(
                "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
                [self.claims],
            )

    def _write(self, op: str, table: str, statement: sql.Composed, params: list[Any], entry: dict[str, Any]) -> Any:
        """One request of the application: a transaction with one statement. Its row, or None when that is not known."""
        assert self.connection is not None
        entry = {"op": op, "table": table, "worker": self.name, **entry}
        try:
            self._take_role()
            row = self.connection.execute(statement, params).fetchone()
        except psycopg.Error:
            if not self.connection.broken:
                self.connection.rollback()
            raise
        if row is None:
            self.connection.rollback()
            self.journal.write(**entry, outcome=MISSING)
            return None
        entry |= {"id": row[0], "at": row[1].isoformat()}
        try:
            self.connection.commit()
        except psycopg.Error as error:
            lost = error.sqlstate is None or error.sqlstate.startswith(("57", "08"))
            if lost:
                self.journal.write(**entry, outcome=UNKNOWN)
            raise
        self.journal.write(**entry, outcome=ACKNOWLEDGED)
        return row[0]

    def _insert(self, table: str, values: dict[str, Any]) -> Row | None:
        statement = sql.SQL("insert into {} ({}) values ({}) returning id, clock_timestamp()").format(
            sql.Identifier("public", table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        key = self._write("create", table, statement, list(values.values()), {"values": values})
        return None if key is None else Row(key, values)

    def _update(self, table: str, row: Row, values: dict[str, Any]) -> bool:
        statement = sql.SQL("update {} set {} where id = %s returning id, clock_timestamp()").format(
            sql.Identifier("public", table),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values),
        )
        entry = {"id": row.key, "values": values}
        return self._write("update", table, statement, [*values.values(), row.key], entry) is not None

    def _delete(self, table: str, row: Row) -> bool:
        statement = sql.SQL("delete from {} where id = %s returning id, clock_timestamp()").format(
            sql.Identifier("public", table)
        )
        return self._write("delete", table, statement, [row.key], {"id": row.key}) is not None

    # -- what people do ------------------------------------------------------------------------------------------

    def _something(self) -> None:
        (action,) = self.random.choices(
            [self._new_deal, self._move, self._note, self._new_contact, self._edit, self._remove],
            weights=[14, 12, 20, 10, 12, 8],
        )
        action()

    def _text(self, what: str) -> str:
        self.made += 1
        return f"{what} {self.token}-{self.made}"

    def _new_deal(self) -> None:
        values = {
            "name": self._text("deal"),
            "company_id": self.random.choice(self.companies),
            "contact_ids": sorted(self.random.sample(self.people, 2)),
            "stage": self.random.choice(STAGES),
            "amount": self.random.randrange(1, 10**9),
            "index": 0,
        }
        self._keep(self.deals, self._insert("deals", values))

    def _move(self) -> None:
        """A card is dropped into a column: a single-row update for each card that moves."""
        for row in self.random.sample(self.deals, min(MOVES, len(self.deals))):
            values = {"index": (row.values["index"] + 1) % _INDEXES, "stage": self.random.choice(STAGES)}
            self._change("deals", self.deals, row, values)

    def _edit(self) -> None:
        if self.deals and self.random.random() < 0.5:
            values = {"description": self._text("edit"), "amount": self.random.randrange(1, 10**9)}
            self._change("deals", self.deals, self.random.choice(self.deals), values)
        elif self.contacts:
            self._change("contacts", self.contacts, self.random.choice(self.contacts), {"title": self._text("edit")})

    def _note(self) -> None:
        if self.deals and self.random.random() < 0.5:
            table, key, rows = self.names.deal_notes, "deal_id", self.deals
        elif self.contacts:
            table, key, rows = self.names.contact_notes, "contact_id", self.contacts
        else:
            return
        row = self.random.choice(rows)
        note = self._insert(table, {key: row.key, "text": self._text("note")})
        if note is not None:
            row.notes.append(note)

    def _new_contact(self) -> None:
        values = {
            "first_name": self._text("contact"),
            "last_name": "Writer",
            "company_id": self.random.choice(self.companies),
        }
        self._keep(self.contacts, self._insert("contacts", values))

    def _remove(self) -> None:
        """A note, or a deal or contact with the notes on it."""
        of_deals = self.random.random() < 0.6
        rows, notes = (self.deals, self.names.deal_notes) if of_deals else (self.contacts, self.names.contact_notes)
        if not rows:
            return
        row = self.random.choice(rows)
        if row.notes and self.random.random() < 0.5:
            note = row.notes.pop()
            # taken out first: what is not known any more is not touched again
            self._delete(notes, note)
        elif len(rows) > KEPT // 2:
            rows.remove(row)
            self._delete("deals" if of_deals else "contacts", row)

    def _change(self, table: str, rows: list[Row], row: Row, values: dict[str, Any]) -> None:
        rows.remove(row)
        known = False
        try:
            known = self._update(table, row, values)
        except psycopg.Error:
            # refused before the COMMIT: the row is as it was
            known = self.connection is not None and not self.connection.broken
            raise
        else:
            row.values |= values
        finally:
            if known:
                rows.append(row)

    @staticmethod
    def _keep(rows: list[Row], row: Row | None) -> None:
        if row is None:
            return
        rows.append(row)
        if len(rows) > KEPT:
            rows.pop(0)


def main() -> None:
    """Start the connections and wait for the end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True, help="of the owner")
    parser.add_argument("--generation", required=True)
    parser.add_argument("--journal", required=True, type=Path)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--owners", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0, help="seconds between two writes of a connection")
    options = parser.parse_args()
    journal = Journal(options.journal)
    names = Names.of(options.generation)
    api = make_conninfo(options.dsn, user="authenticator")
    workers = [
        *(Worker(n, api, names, journal, as_api=True, pause=options.pause) for n in range(options.connections)),
        *(Worker(n, options.dsn, names, journal, as_api=False, pause=options.pause) for n in range(options.owners)),
    ]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    for worker in workers:
        worker.stop_asked.set()
    for worker in workers:
        worker.join()
    journal.close()


if __name__ == "__main__":
    main()
