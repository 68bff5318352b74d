"""A legacy CRM to try things on: its schema in either generation, and rows with a known share of mess.

All rows are made inside the database, out of the lists in `seeds/demo.toml`. The same seed gives the same rows.
"""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from psycopg import sql

from crm_migrate import database, paths
from crm_migrate.database import Connection
from crm_migrate.errors import UsageError
from crm_migrate.legacy import Generation

PARAMETERS = paths.SEEDS / "demo.toml"
EXAMPLES = 3
NOTE_TABLES = {
    Generation.G2025: {"deal_notes": "dealNotes", "contact_notes": "contactNotes"},
    Generation.G2026: {"deal_notes": "deal_notes", "contact_notes": "contact_notes"},
}
_FILES = ("10_people", "20_companies", "30_contacts", "40_deals", "50_notes", "60_tasks", "70_sequences")
# from this many rows on, one messy row is clearly below one percent
_ROWS_FOR_ONE = 120


class NotEmpty(UsageError):
    """Demo data go into an empty CRM only."""

    code = "CRM-040"


class Mess(StrEnum):
    """Kinds of rows that the migration has something to say about. Each is a file in `sql/legacy/generator/mess`."""

    # a warning of the dry run
    BLANK_COMPANY_NAME = "blank_company_name"
    BLANK_CONTACT_NAME = "blank_contact_name"
    UNREADABLE_EMAIL = "unreadable_email"
    UNMAPPED_STAGE = "unmapped_stage"
    DANGLING_CONTACT = "dangling_contact"
    DUPLICATE_CONTACT = "duplicate_contact"
    NULL_CONTACT = "null_contact"
    CLOSING_BEFORE_CREATION = "closing_before_creation"
    CLOSING_FAR_AWAY = "closing_far_away"
    NEGATIVE_AMOUNT = "negative_amount"
    BLANK_DEAL_NAME = "blank_deal_name"
    BLANK_CONTACT_NOTE = "blank_contact_note"
    CONTACT_NOTE_FAR_AWAY = "contact_note_far_away"
    BLANK_DEAL_NOTE = "blank_deal_note"
    DEAL_NOTE_FAR_AWAY = "deal_note_far_away"
    DANGLING_TASK_SALES = "dangling_task_sales"
    TASK_DATE_FAR_AWAY = "task_date_far_away"
    UNMAPPED_TASK_TYPE = "unmapped_task_type"
    # worth knowing, nothing wrong
    DEAL_WITHOUT_COMPANY = "deal_without_company"
    CONTACT_WITHOUT_COMPANY = "contact_without_company"
    DUPLICATE_COMPANY_NAME = "duplicate_company_name"
    STAGE_SPELLING = "stage_spelling"
    ODD_TEXT = "odd_text"
    UPPERCASE_EMAIL = "uppercase_email"


WARNINGS: Mapping[str, tuple[Mess, ...]] = {
    "companies": (Mess.BLANK_COMPANY_NAME,),
    "contacts": (Mess.UNREADABLE_EMAIL, Mess.BLANK_CONTACT_NAME),
    "deals": (
        Mess.UNMAPPED_STAGE,
        Mess.DANGLING_CONTACT,
        Mess.DUPLICATE_CONTACT,
        Mess.NULL_CONTACT,
        Mess.CLOSING_BEFORE_CREATION,
        Mess.CLOSING_FAR_AWAY,
        Mess.NEGATIVE_AMOUNT,
        Mess.BLANK_DEAL_NAME,
    ),
    "contact_notes": (Mess.BLANK_CONTACT_NOTE, Mess.CONTACT_NOTE_FAR_AWAY),
    "deal_notes": (Mess.BLANK_DEAL_NOTE, Mess.DEAL_NOTE_FAR_AWAY),
    "tasks": (Mess.DANGLING_TASK_SALES, Mess.TASK_DATE_FAR_AWAY, Mess.UNMAPPED_TASK_TYPE),
}
INFOS: Mapping[str, tuple[Mess, ...]] = {
    "companies": (Mess.DUPLICATE_COMPANY_NAME,),
    "contacts": (Mess.CONTACT_WITHOUT_COMPANY, Mess.UPPERCASE_EMAIL),
    "deals": (Mess.DEAL_WITHOUT_COMPANY, Mess.STAGE_SPELLING, Mess.ODD_TEXT),
}
_TABLE_OF = {kind: table for kinds in (WARNINGS, INFOS) for table, of_table in kinds.items() for kind in of_table}


@dataclass(frozen=True)
class Counts:
    """How many rows were made, and how many of them carry which mess."""

    sales: int
    tags: int
    companies: int
    contacts: int
    deals: int
    deal_notes: int
    contact_notes: int
    tasks: int
    messes: Mapping[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> int:
        """Both tables of notes together."""
        return self.deal_notes + self.contact_notes


def create_schema(connection: Connection, generation: Generation | str) -> None:
    """Create an empty legacy schema, with the platform's roles and login schema where they are missing."""
    with connection.transaction():
        database.run_sql_folder(connection, "legacy/platform")
        database.run_sql_folder(connection, f"legacy/{Generation(generation)}")


def load(
    connection: Connection,
    generation: Generation | str,
    *,
    contacts: int = 5000,
    seed: int = 20261123,
    mess_percent: float = 0.5,
    parameters: Path | None = None,
) -> Counts:
    """Fill an empty legacy schema. No trigger of the application fires.

    Args:
        contacts: half as many deals, a quarter as many companies, twice as many notes.
        seed: the same seed gives the same rows.
        mess_percent: share of each table's rows that the dry run will warn about.
        parameters: another file than `seeds/demo.toml`.

    Raises:
        NotEmpty: there are companies or contacts already.
    """
    generation = Generation(generation)
    if database.scalar(
        connection, "select exists (select from public.companies union all select from public.contacts)"
    ):
        raise NotEmpty(
            "This CRM has companies or contacts already.",
            why="Demo data start with id 1 in every table.",
            next="Create an empty database for the demo.",
        )
    lists = tomllib.loads((parameters or PARAMETERS).read_text(encoding="utf-8"))
    with _generator(connection, generation, lists, contacts=contacts, seed=seed):
        for name in _FILES:
            _run(connection, name)
        if generation is Generation.G2026:
            _run(connection, "configuration_2026")
        rows = _count(connection)
        messes = _make_mess(connection, generation, rows, lists["shares"], mess_percent)
    # without statistics the first plans over the new rows are guesses
    for table in (*_tables(generation), "sales", "tags"):
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("public", table)))
    return Counts(**rows, messes=messes)


def spoil(connection: Connection, generation: Generation | str, kind: Mess | str, rows: int = 1) -> list[int]:
    """Give some rows one named mess, and nothing else. The demo's three examples are left alone.

    Returns:
        The ids of the rows.
    """
    generation, kind = Generation(generation), Mess(kind)
    lists = tomllib.loads(PARAMETERS.read_text(encoding="utf-8"))
    with _generator(connection, generation, lists, contacts=0, seed=0):
        _queue(connection, _TABLE_OF[kind], rows, purpose=kind)
        return _apply(connection, kind, rows)


def demo_seeds(connection: Connection, target: Path) -> Path:
    """Copy the project's mapping files to a folder and add lines that fit the demo's principals and distributors."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(paths.SEEDS.iterdir()):
        if path.suffix in {".csv", ".toml"}:
            shutil.copyfile(path, target / path.name)
    query = """
        select id, name, lower(website::text) as website, id %% 25 = 2 as is_principal
        from public.companies
        where id %% 25 = %s
        order by id
    """
    principals = database.rows(connection, query, [2])
    distributors = database.rows(connection, query, [3])
    roles = [
        {**_named(company, position), "role": "principal" if company["is_principal"] else "distributor"}
        | {"commission_percent": 5 + position % 4 * 5 if position % 2 else ""}
        for companies in (principals, distributors)
        for position, company in enumerate(companies)
    ]
    _append(target / "company_roles.csv", roles)
    present = {company["name"] for company in principals}
    lists = tomllib.loads(PARAMETERS.read_text(encoding="utf-8"))
    labels = {entry["value"]: entry["label"] for entry in lists["categories"]}
    is_2025 = database.exists(connection, 'public."dealNotes"')
    _append(
        target / "category_principals.csv",
        [
            {"category": labels[entry["category"]] if is_2025 else entry["category"], "principal_name": entry["name"]}
            for entry in lists["principals"]
            if entry["name"] in present
        ],
    )
    _append(
        target / "principal_distributor_agreements.csv",
        [
            {
                "principal_name": principal["name"],
                "distributor_name": distributor["name"],
                "status": "active",
                "start_date": f"2024-{1 + position % 12:02d}-01",
                "commission_percent": 8 + position % 5,
                "notes": "framework agreement",
            }
            for position, (principal, distributor) in enumerate(zip(principals, distributors, strict=False))
        ],
    )
    return target


def _named(company: Mapping[str, Any], position: int) -> dict[str, Any]:
    """Most companies by their exact name, every fourth by its website, as an analyst would have it."""
    if position % 4 == 3 and company["website"]:
        return {"website_domain": company["website"].removeprefix("https://").removeprefix("www.")}
    return {"company_name": company["name"]}


def _append(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    text = path.read_text(encoding="utf-8")
    columns = next(csv.reader([text.splitlines()[0]]))
    with path.open("a", encoding="utf-8", newline="") as file:
        if not text.endswith("\n"):
            file.write("\n")
        csv.DictWriter(file, columns, restval="", lineterminator="\n").writerows(lines)


@contextmanager
def _generator(
    connection: Connection, generation: Generation, lists: Mapping[str, Any], *, contacts: int, seed: int
) -> Iterator[None]:
    """One transaction in which the generator's names and functions exist and no trigger of the application fires."""
    tables = [sql.Identifier("public", table) for table in _tables(generation)]
    with connection.transaction():
        connection.execute("set local timezone = 'UTC'")
        connection.execute("set local datestyle = 'ISO'")
        connection.execute(
            "create temporary table demo_parameters (generation text, contacts bigint, seed bigint, parameters jsonb)"
        )
        connection.execute(
            "insert into pg_temp.demo_parameters values (%s, %s, %s, %s)",
            [str(generation), contacts, seed, json.dumps(lists)],
        )
        for name in (f"names_{generation}", "functions", "words"):
            _run(connection, name)
        connection.execute("create temporary table demo_targets (position bigint, id bigint)")
        for table in tables:
            connection.execute(sql.SQL("alter table {} disable trigger user").format(table))
        yield
        _run(connection, "cleanup")
        # checks of foreign keys are queued, and a table with queued events cannot be altered
        connection.execute("set constraints all immediate")
        for table in tables:
            connection.execute(sql.SQL("alter table {} enable trigger user").format(table))


def _run(connection: Connection, name: str) -> None:
    database.run_sql_file(connection, paths.SQL / "legacy" / "generator" / f"{name}.sql")


def _tables(generation: Generation) -> tuple[str, ...]:
    notes = NOTE_TABLES[generation]
    return ("companies", "contacts", "deals", notes["deal_notes"], notes["contact_notes"], "tasks")


def _count(connection: Connection) -> dict[str, int]:
    names = ("sales", "tags", "companies", "contacts", "deals", "deal_notes", "contact_notes", "tasks")
    query = sql.SQL("select count(*) from pg_temp.{}")
    return {name: int(database.scalar(connection, query.format(sql.Identifier(f"demo_{name}")))) for name in names}


def _make_mess(
    connection: Connection,
    generation: Generation,
    rows: Mapping[str, int],
    shares: Mapping[str, float],
    mess_percent: float,
) -> dict[str, int]:
    """Spread the warnings evenly over their kinds; a row has one kind of mess at most."""
    made: dict[str, int] = {}
    for table, kinds in WARNINGS.items():
        if generation is not Generation.G2025:
            kinds = tuple(kind for kind in kinds if kind is not Mess.DANGLING_TASK_SALES)
        total = int(rows[table] * mess_percent / 100)
        if mess_percent >= 0.5 and rows[table] >= _ROWS_FOR_ONE:
            total = max(total, 1)
        wanted = {kind: total // len(kinds) + (i < total % len(kinds)) for i, kind in enumerate(kinds)}
        wanted |= {kind: int(rows[table] * shares[kind] / 100) for kind in INFOS.get(table, ())}
        _queue(connection, table, sum(wanted.values()), purpose="mess")
        made |= {str(kind): len(_apply(connection, kind, number)) for kind, number in wanted.items() if number}
    return made


def _queue(connection: Connection, table: str, rows: int, *, purpose: str) -> None:
    """Choose rows at random. Examples, principals and distributors stay what the mapping files say."""
    protected = {"companies": f"id <= {EXAMPLES} or id % 25 in (2, 3)", "deals": f"id <= {EXAMPLES}"}
    protected["contacts"] = f"id <= {2 * EXAMPLES}"
    query = sql.SQL("""
        create temporary table demo_queue as
        select row_number() over (order by pg_temp.draw(id, {purpose}), id) as position, id
        from pg_temp.{table}
        where not ({protected})
        order by position
        limit {rows}
    """)
    connection.execute("drop table if exists pg_temp.demo_queue")
    connection.execute(
        query.format(
            purpose=sql.Literal(f"{purpose} {table}"),
            table=sql.Identifier(f"demo_{table}"),
            protected=sql.SQL(protected.get(table, "false")),
            rows=sql.Literal(rows),
        )
    )


def _apply(connection: Connection, kind: Mess, rows: int) -> list[int]:
    connection.execute("truncate pg_temp.demo_targets")
    connection.execute(
        """
        with taken as (
            delete from pg_temp.demo_queue
            where id in (select id from pg_temp.demo_queue order by position limit %s)
            returning id
        )
        insert into pg_temp.demo_targets (position, id)
        select row_number() over (order by id) - 1, id from taken
        """,
        [rows],
    )
    _run(connection, f"mess/{kind}")
    return [row[0] for row in connection.execute("select id from pg_temp.demo_targets order by id")]
