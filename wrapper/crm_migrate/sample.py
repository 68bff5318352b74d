"""A sample of a legacy CRM: a part that is whole in itself, streamed into a database of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from crm_migrate import database, demo_data, paths
from crm_migrate.database import Connection
from crm_migrate.legacy import Column, LegacySchema

_CHOSEN = paths.SQL / "sample" / "chosen.sql"
_SHARES = 1_000_000
# the same text of a value on both sides
_TEXT_FORM = {"datestyle": "ISO, YMD", "intervalstyle": "postgres", "extra_float_digits": "3", "row_security": "off"}
# in the order of their foreign keys: what is taken of each
_TAKEN: Mapping[str, str] = {
    "sales": "true",
    "tags": "true",
    "companies": "taken.id in (select chosen_companies.id from chosen_companies)",
    "contacts": "taken.id in (select chosen_contacts.id from chosen_contacts)",
    "deals": "taken.id in (select chosen_deals.id from chosen_deals)",
    "deal_notes": "taken.deal_id in (select chosen_deals.id from chosen_deals)",
    "contact_notes": "taken.contact_id in (select chosen_contacts.id from chosen_contacts)",
    "tasks": "taken.contact_id in (select chosen_contacts.id from chosen_contacts)",
}
_CONFIGURATION = "configuration"
# what an installation may have made itself and a sample has not: no mapping sees it, but the cutover has to carry it
LEFT_OUT = ("tables", "views", "policies", "triggers", "functions", "constraints", "grants")


@dataclass(frozen=True)
class Taken:
    """How many rows of a table were taken, of how many."""

    rows: int
    of: int


@dataclass(frozen=True)
class Choice:
    """What is taken: a share of the companies by a seed, and the companies that the mapping files name."""

    percent: float
    seed: int
    named_companies: Sequence[int]


def copy(source: Connection, target: Connection, legacy: LegacySchema, choice: Choice) -> dict[str, Taken]:
    """Make the legacy schema in an empty database and stream the chosen rows into it.

    The source is read in one read-only snapshot. The target gets the stock schema with the installation's own columns,
    and nothing of `LEFT_OUT`.

    Args:
        target: a connection as superuser to an empty database.
    """
    demo_data.create_schema(target, legacy.generation)
    _add_columns(target, legacy)
    with source.transaction(), target.transaction():
        source.execute("set transaction isolation level repeatable read read only")
        for connection in (source, target):
            for name, value in _TEXT_FORM.items():
                connection.execute("select set_config(%s, %s, true)", [name, value])
        tables = [sql.Identifier("public", legacy.table(entity)) for entity in _TAKEN]
        for table in tables:
            # the application's triggers would change what is copied
            target.execute(sql.SQL("alter table {} disable trigger user").format(table))
        _copy_logins(source, target)
        taken = {legacy.table(entity): _copy_table(source, target, legacy, entity, choice) for entity in _TAKEN}
        _copy_configuration(source, target)
        target.execute("set constraints all immediate")
        for table in tables:
            target.execute(sql.SQL("alter table {} enable trigger user").format(table))
            target.execute(
                sql.SQL(
                    "select setval(pg_get_serial_sequence({}, 'id'), greatest((select max(id) from {}), 1))"
                ).format(sql.Literal(table.as_string(None)), table)
            )
    target.execute("analyze")
    return taken


def _add_columns(target: Connection, legacy: LegacySchema) -> None:
    for table, columns in legacy.extra_columns.items():
        for column in columns:
            if column.generated:
                continue
            try:
                _add_column(target, table, column, column.type)
            except (psycopg.errors.UndefinedObject, psycopg.errors.SyntaxError):
                # a type of the installation: its text is enough for trying mappings
                _add_column(target, table, column, "text")
    for table, columns in legacy.columns.items():
        for column in columns:
            if not column.not_null:
                target.execute(
                    sql.SQL("alter table {} alter {} drop not null").format(
                        sql.Identifier("public", table), sql.Identifier(column.name)
                    )
                )


def _add_column(target: Connection, table: str, column: Column, kind: str) -> None:
    target.execute(
        sql.SQL("alter table {} add column {} {}").format(
            sql.Identifier("public", table),
            sql.Identifier(column.name),
            sql.SQL(kind),  # as the catalog writes it
        )
    )


def _copy_logins(source: Connection, target: Connection) -> None:
    """Only the ids of the logins: the rows of sales refer to them."""
    _stream(
        source,
        target,
        sql.SQL("select distinct user_id from public.sales where user_id is not null"),
        sql.SQL("auth.users (id)"),
    )


def _copy_configuration(source: Connection, target: Connection) -> None:
    table = sql.Identifier("public", _CONFIGURATION)
    if not all(database.exists(connection, "public." + _CONFIGURATION) for connection in (source, target)):
        return
    target.execute(sql.SQL("delete from {}").format(table))
    _stream(
        source, target, sql.SQL("select id, config from {}").format(table), sql.SQL("{} (id, config)").format(table)
    )


def _copy_table(source: Connection, target: Connection, legacy: LegacySchema, entity: str, choice: Choice) -> Taken:
    name = legacy.table(entity)
    table = sql.Identifier("public", name)
    names = [column.name for column in legacy.columns[name] if not column.generated]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    chosen = sql.SQL(_CHOSEN.read_text(encoding="utf-8")).format(
        seed=sql.Literal(choice.seed),
        share=sql.Literal(round(choice.percent / 100 * _SHARES)),
        named=sql.Literal(list(choice.named_companies)),
    )
    query = sql.SQL("{} select {} from {} as taken where {}").format(
        chosen,
        sql.SQL(", ").join(sql.Identifier("taken", column) for column in names),
        table,
        sql.SQL(_TAKEN[entity]),  # a text of this module
    )
    rows = _stream(source, target, query, sql.SQL("{} ({})").format(table, columns))
    return Taken(rows, database.count(source, table))


def _stream(source: Connection, target: Connection, query: sql.Composable, into: sql.Composable) -> int:
    """Copy from server to server; no more than a buffer of it is ever here."""
    with source.cursor() as reading, target.cursor() as writing:
        with (
            reading.copy(sql.SQL("copy ({}) to stdout").format(query)) as out,
            writing.copy(sql.SQL("copy {} from stdin").format(into)) as entering,
        ):
            for block in out:
                entering.write(block)
        return writing.rowcount
