"""What people do between dry run and migration: less than one row in a hundred, in every table that they use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

# what is changed in each table, children first: a deleted contact takes its notes and tasks with it
_CHANGES: Mapping[str, LiteralString] = {
    "tasks": "done_date = timestamptz '2026-11-21 10:00+00'",
    "deal_notes": "text = text || ' (as agreed on the telephone)'",
    "contact_notes": "text = text || ' (as agreed on the telephone)'",
    "deals": "amount = coalesce(amount, 0) + 50, stage = 'won', updated_at = timestamptz '2026-11-21 10:00+00'",
    "contacts": "title = 'Head of Purchasing', last_seen = timestamptz '2026-11-21 10:00+00'",
    "companies": "phone_number = '+41 31 000 00 00'",
}
_UPDATE: LiteralString = "update public.{table} set {change} where id % 400 = 11"
_UPDATE_ONE: LiteralString = (
    "update public.{table} set {change} where id = (select id from public.{table} order by id offset 1 limit 1)"
)
_PAUSE = 0.5
_INSERT: LiteralString = """
    insert into public.{table}
    select fresh.*
    from (
        select row_number() over (order by id) + (select max(id) from public.{table}) as new_id, old.*
        from public.{table} as old
        where id % 1000 = 12
    ) as copied
    cross join lateral jsonb_populate_record(
        null::public.{table}, to_jsonb(copied) || jsonb_build_object('id', copied.new_id)
    ) as fresh
"""
# a company takes its contacts and deals with it: only those that have none
_DELETE: Mapping[str, LiteralString] = {
    "companies": """
        delete from public.companies
        where id % 100 = 13
            and not exists (select from public.contacts where contacts.company_id = companies.id)
            and not exists (select from public.deals where deals.company_id = companies.id)
    """,
}
# who refers to a deleted row is looked for in each of these: a legacy CRM has no index there, and ten thousand of ten
# million contacts would be at it for hours
_REFERRING: Mapping[str, str] = {
    "tasks": "contact_id",
    "contact_notes": "contact_id",
    "deal_notes": "deal_id",
    "contacts": "company_id",
    "deals": "company_id",
}
_INDEX: LiteralString = "create index {index} on public.{table} ({column})"
_DELETE_ANY: LiteralString = "delete from public.{table} where id % 1000 = 13"


def make(connection: Connection) -> dict[str, int]:
    """Change, add and delete rows: the same of the same rows each time.

    Returns:
        `rows` of these tables before, and how many were `updated`, `inserted` and `deleted`.
    """
    done = {"rows": _rows(connection), "updated": 0, "inserted": 0}
    with connection.transaction():
        for table, change in _CHANGES.items():
            name = sql.Identifier(table)
            update = sql.SQL(_UPDATE).format(table=name, change=sql.SQL(change))
            done["updated"] += connection.execute(update).rowcount
            done["inserted"] += connection.execute(sql.SQL(_INSERT).format(table=name)).rowcount
        indexes = [(sql.Identifier(f"bench_{table}"), table, column) for table, column in _REFERRING.items()]
        for index, table, column in indexes:
            create = sql.SQL(_INDEX).format(index=index, table=sql.Identifier(table), column=sql.Identifier(column))
            connection.execute(create)
        for table in _CHANGES:
            delete = sql.SQL(_DELETE.get(table, _DELETE_ANY)).format(table=sql.Identifier(table))
            connection.execute(delete)
        for index, _, _ in indexes:
            connection.execute(sql.SQL("drop index public.{}").format(index))
    return done | {"deleted": done["rows"] + done["inserted"] - _rows(connection)}


@contextmanager
def going_on(settings: Settings) -> Iterator[None]:
    """Somebody who works in every table, until the CRM is locked."""
    stop = threading.Event()

    def work() -> None:
        # the lock refuses the write, or ends the connection
        with suppress(psycopg.Error), database.connect(settings, application="somebody") as connection:
            while not stop.wait(_PAUSE):
                for table, change in _CHANGES.items():
                    update = sql.SQL(_UPDATE_ONE).format(table=sql.Identifier(table), change=sql.SQL(change))
                    connection.execute(update)

    somebody = threading.Thread(target=work, name="somebody")
    somebody.start()
    try:
        yield
    finally:
        stop.set()
        somebody.join()


def _rows(connection: Connection) -> int:
    return sum(database.count(connection, sql.Identifier("public", table)) for table in _CHANGES)
