"""The compatibility layer: made by the cutover, used by an unchanged application for a month, counted, and ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from psycopg import sql

from crm_migrate import compat_triggers, database
from crm_migrate.compat_views import View, catalog_text, views
from crm_migrate.database import Connection
from crm_migrate.legacy import LegacySchema
from crm_migrate.settings import Settings


@dataclass(frozen=True)
class Usage:
    """How often a role wrote through a view on a day."""

    role: str
    day: date
    relation: str
    operation: str
    writes: int
    last_at: datetime


@dataclass(frozen=True)
class Status:
    """What is there of the layer, and who still uses it."""

    until: datetime | None
    expired: bool
    views: tuple[str, ...]
    usage: tuple[Usage, ...]


@dataclass(frozen=True)
class Dropped:
    """What became of the views."""

    dropped: tuple[str, ...]
    hidden: tuple[str, ...]
    """Other views read these, so they left the API's schema instead."""


def create_views(connection: Connection, settings: Settings, legacy: LegacySchema) -> None:
    """Create the views, their triggers and the counters; in the cutover's transaction, after the archiving."""
    database.run_sql_folder(connection, "compat", rename=settings.rename)
    for view in views(connection, settings, legacy):
        _create(connection, view)
        connection.execute(
            "insert into crm_compat.promises (relation, successor, until)"
            " values (%s, %s, now() + make_interval(days => %s))",
            [view.name, view.successor, settings.compat_days],
        )
        until = database.scalar(
            connection,
            "select to_char(until at time zone 'UTC', 'YYYY-MM-DD') from crm_compat.promises where relation = %s",
            [view.name],
        )
        connection.execute(
            sql.SQL("comment on view {} is {}").format(
                view.identifier,
                sql.Literal(f"Deprecated, kept for the old application until {until}: use {view.successor}."),
            )
        )


def status(connection: Connection) -> Status:
    """What `compat status` shows. Reads are not counted: the API reads in read-only transactions."""
    if not database.exists(connection, "crm_compat.promises"):
        return Status(None, False, (), ())
    until, expired = connection.execute(
        "select min(until), coalesce(now() > min(until), false) from crm_compat.promises"
    ).fetchone() or (None, False)
    present = connection.execute(
        "select relation from crm_compat.promises"
        " where to_regclass(format('public.%I', relation)) is not null order by 1"
    )
    used = connection.execute(
        "select role_name, day, relation, operation, sum(writes)::bigint, max(last_at) from crm_compat.usage"
        " group by role_name, day, relation, operation order by day desc, role_name, relation, operation"
    )
    names = tuple(row[0] for row in present.fetchall())
    return Status(until, expired, names, tuple(Usage(*row) for row in used))


def drop_views(connection: Connection) -> Dropped:
    """End the layer. A view that other views read keeps working for them, out of the API's sight."""
    dropped: list[str] = []
    hidden: list[str] = []
    with connection.transaction():
        for name in status(connection).views:
            view = sql.Identifier("public", name)
            for operation in ("insert", "update", "delete"):
                connection.execute(
                    sql.SQL("drop function if exists {} cascade").format(
                        sql.Identifier("crm_compat", f"{name}_{operation}")
                    )
                )
            connection.execute(sql.SQL("drop trigger if exists crm_count on {}").format(view))
            read_by_others = database.scalar(
                connection,
                """
                select exists (
                    select from pg_catalog.pg_depend
                    inner join pg_catalog.pg_rewrite on pg_rewrite.oid = pg_depend.objid
                    where pg_depend.classid = 'pg_catalog.pg_rewrite'::regclass
                        and pg_depend.refobjid = %s::regclass
                        and pg_rewrite.ev_class <> pg_depend.refobjid
                )
                """,
                [view.as_string(connection)],
            )
            if read_by_others:
                connection.execute(sql.SQL("alter view {} set schema crm_compat").format(view))
                hidden.append(name)
            else:
                connection.execute(sql.SQL("drop view {}").format(view))
                dropped.append(name)
        connection.execute("notify pgrst, 'reload schema'")
    return Dropped(tuple(dropped), tuple(hidden))


def _create(connection: Connection, view: View) -> None:
    connection.execute(
        sql.SQL("create view {} with (security_invoker = true) as\n{}").format(view.identifier, view.selection)
    )
    for column in view.columns:
        if column.default is not None and column.written:
            connection.execute(
                sql.SQL("alter view {} alter column {} set default {}").format(
                    view.identifier, column.identifier, catalog_text(column.default)
                )
            )
    bodies: dict[str, Callable[[View], sql.Composable]] = {
        "insert": compat_triggers.insert,
        "update": compat_triggers.update,
        "delete": compat_triggers.delete,
    }
    for operation, body in bodies.items():
        connection.execute(
            sql.SQL(
                "create function {function}() returns trigger language plpgsql set search_path = '' as {body}"
            ).format(function=view.function(operation), body=_quoted(body(view), connection))
        )
        connection.execute(
            sql.SQL("comment on function {}() is {}").format(
                view.function(operation),
                sql.Literal(
                    f"Trigger: an {operation} of the old application."
                    if operation != "delete"
                    else "Trigger: a delete of the old application."
                ),
            )
        )
        connection.execute(
            sql.SQL("create trigger {} instead of {} on {} for each row execute function {}()").format(
                sql.Identifier(f"crm_{operation}"), catalog_text(operation), view.identifier, view.function(operation)
            )
        )
    connection.execute(
        sql.SQL(
            "create trigger crm_count after insert or update or delete on {} for each statement"
            " execute function crm_compat.count_use({})"
        ).format(view.identifier, sql.Literal(view.successor))
    )


def _quoted(body: sql.Composable, connection: Connection) -> sql.Composable:
    """The body as a string literal: no dollar quote that a name of the installation could end."""
    return sql.Literal(body.as_string(connection))
