"""The obvious alternative: a script that reads rows in pages of 1,000 by their key and upserts them.

Written as a careful engineer writes it who knows the rules: lookups in dictionaries, one prepared statement per table
that psycopg sends in a pipeline, one commit per page, every key and index there from the start. It makes the four
large tables and nothing else; no ledger, no data tests, and no way to go on after a row that the target refuses.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import sql

from bench import aside, program
from bench.program import Measured
from bench.script_rules import Rules
from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

PAGE = 1000
TABLES = ("opportunities", "opportunity_participants", "contact_organizations", "activities")
READ = "(lookups)"

Row = dict[str, Any]

# dates may lie beyond what Python can hold: they stay text
_DEALS: LiteralString = """
    select
        id, name, company_id, contact_ids, category, stage, description, amount, created_at, updated_at, archived_at,
        expected_closing_date::text as closing, (updated_at at time zone 'UTC')::date as touched_on, sales_id, "index"
    from public.deals
    where id > %s
    order by id
    limit %s
"""
_CONTACTS: LiteralString = "select id, company_id, first_seen from public.contacts where id > %s order by id limit %s"
_TASKS: LiteralString = """
    select
        tasks.id, tasks.contact_id, contacts.company_id, tasks.type, tasks.text, tasks.due_date::text as due,
        tasks.done_date::text as done, tasks.sales_id, contacts.first_seen::text as first_seen
    from public.tasks
    inner join public.contacts on contacts.id = tasks.contact_id
    where tasks.id > %s
    order by tasks.id
    limit %s
"""


def run(connection: Connection, settings: Settings, models: Sequence[Mapping[str, Any]]) -> Measured:
    """Fill the four tables in `crm_build`; the program's own result stays in `measured`."""
    aside.clear(connection)
    _make_tables(connection, settings, models)
    began = time.perf_counter()
    seconds: dict[str, float] = defaultdict(float)
    with _timing(seconds, READ):
        rules = Rules.read(connection, settings)
    meetings = _deals(connection, rules, seconds)
    _links(connection, rules, meetings, seconds)
    _activities(connection, rules, seconds)
    return Measured(dict(seconds), time.perf_counter() - began)


def _make_tables(connection: Connection, settings: Settings, models: Sequence[Mapping[str, Any]]) -> None:
    """The tables of the program with their keys, indexes and foreign keys, all empty."""
    for model in models:
        if model["config"]["materialized"] == "batched":
            name, key = sql.Identifier(model["name"]), sql.Identifier(model["config"]["unique_key"])
            like = sql.SQL(
                "create table crm_build.{name} (like measured.{name} including constraints including defaults"
                " including generated including identity, primary key ({key}))"
            )
            connection.execute(like.format(name=name, key=key))
    program.timed_afterwards(connection, settings)


def _deals(connection: Connection, rules: Rules, seconds: dict[str, float]) -> dict[int, list[Row]]:
    """Opportunities and their participants.

    Returns:
        For each contact the deals with a company that name it.
    """
    meetings: dict[int, list[Row]] = defaultdict(list)
    participants = 0
    for deals in _pages(connection, _DEALS):
        opportunities, parties = [], []
        for deal in deals:
            opportunity = rules.opportunity(deal)
            opportunities.append(opportunity)
            for role in ("customer", "principal", "distributor"):
                organization = opportunity[f"{role}_organization_id"]
                if organization is not None:
                    participants += 1
                    parties.append(rules.participant(participants, deal, organization, role))
            if deal["company_id"] is not None:
                meeting = {key: deal[key] for key in ("id", "company_id", "created_at", "updated_at")}
                for contact in {*(deal["contact_ids"] or ())} - {None}:
                    meetings[contact].append(meeting)
        with connection.transaction():
            with _timing(seconds, "opportunities"):
                _upsert(connection, "opportunities", opportunities)
            with _timing(seconds, "opportunity_participants"):
                _upsert(connection, "opportunity_participants", parties)
    return meetings


def _links(connection: Connection, rules: Rules, meetings: Mapping[int, list[Row]], seconds: dict[str, float]) -> None:
    number = 0
    for contacts in _pages(connection, _CONTACTS):
        links = []
        for contact in contacts:
            for link in rules.links(contact, meetings.get(contact["id"], ())):
                number += 1
                links.append({"id": number, **link})
        with connection.transaction(), _timing(seconds, "contact_organizations"):
            _upsert(connection, "contact_organizations", links)


def _activities(connection: Connection, rules: Rules, seconds: dict[str, float]) -> None:
    for tasks in _pages(connection, _TASKS):
        with connection.transaction(), _timing(seconds, "activities"):
            _upsert(connection, "activities", [rules.activity(task) for task in tasks])


def _pages(connection: Connection, query: LiteralString) -> Iterator[list[Row]]:
    last = -1
    while page := database.rows(connection, query, [last, PAGE]):
        yield page
        last = page[-1]["id"]


def _upsert(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = list(rows[0])
    columns = [sql.Identifier(name) for name in names]
    statement = sql.SQL("insert into crm_build.{} ({}) values ({}) on conflict (id) do update set {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(columns),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
        sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(column) for column in columns[1:]),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


class _timing:  # noqa: N801  reads like a word of the language
    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] += time.perf_counter() - self.began
