"""The compatibility layer: made by the cutover, used by an unchanged application for a month, counted, and ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from crm_migrate import compat_objects, database, ledger
from crm_migrate.compat_views import View, views
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError, Stopped
from crm_migrate.legacy import LegacySchema
from crm_migrate.lock import operator_name
from crm_migrate.settings import Settings


class StillReferred(MigrationError):
    """Something that cannot move with the views depends on them."""

    code, exit_code = "CRM-420", Exit.WRONG_STATE


class DropBlocked(Stopped):
    """Somebody's transaction is open on a view; nothing was changed."""

    code = "CRM-704"


@dataclass(frozen=True)
class Promise:
    """A view under a legacy name: what to use instead, until when it stays, and what became of it."""

    relation: str
    successor: str
    until: datetime
    present: bool
    dropped_at: datetime | None
    dropped_by: str | None
    reason: str | None
    hidden: bool


@dataclass(frozen=True)
class Dropped:
    """What became of the views."""

    dropped: tuple[str, ...]
    hidden: tuple[str, ...]
    """Other views read these, so they left the API's schema instead."""


def create_views(connection: Connection, settings: Settings, legacy: LegacySchema) -> tuple[View, View]:
    """Create the views, their triggers and the counters; in the cutover's transaction, after the archiving.

    Returns:
        The views that stand for the deals and for their notes.
    """
    database.run_sql_folder(connection, "compat", rename=settings.rename)
    made = views(connection, settings, legacy)
    for view in made:
        compat_objects.create(connection, view)
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
    return made


def promises(connection: Connection) -> list[Promise]:
    """The views of the layer; none where nothing was migrated."""
    if not database.exists(connection, "crm_compat.promises"):
        return []
    found = database.rows(
        connection,
        """
        select
            relation, successor, until,
            to_regclass(format('public.%I', relation)) is not null as present,
            dropped_at, dropped_by, reason, hidden
        from crm_compat.promises
        order by relation
        """,
    )
    return [Promise(**row) for row in found]


def dropped(connection: Connection) -> frozenset[str]:
    """The views that were ended on purpose."""
    return frozenset(item.relation for item in promises(connection) if item.dropped_at is not None)


def drop_views(connection: Connection, settings: Settings, *, reason: str | None = None) -> Dropped:
    """End the layer in one transaction. A view that other views read keeps working for them, out of the API's sight.

    Only the views go, with their triggers: what keeps the new tables in step with each other (`contacts.company_id` and
    the primary link, an opportunity and its customer, a task and its activity) serves the new application too.

    Raises:
        DropBlocked: a lock was not granted.
        StillReferred: something else than a view depends on them.
    """
    gone: list[str] = []
    hidden: list[str] = []
    try:
        with connection.transaction():
            database.set_timeout(connection, "lock_timeout", settings.lock_timeout, local=True)
            for item in promises(connection):
                if not item.present:
                    continue
                stays = _drop(connection, item.relation)
                (hidden if stays else gone).append(item.relation)
                connection.execute(
                    "update crm_compat.promises set dropped_at = clock_timestamp(), dropped_by = %s, reason = %s,"
                    " hidden = %s where relation = %s",
                    [operator_name(), reason, stays, item.relation],
                )
            connection.execute("notify pgrst, 'reload schema'")
    except psycopg.errors.LockNotAvailable as error:
        raise DropBlocked(
            "Somebody's transaction is open on an old name.",
            why=str(error).splitlines()[0],
            next="Run crm-migrate compat drop again, or end that session.",
        ) from None
    except psycopg.errors.DependentObjectsStillExist as error:
        raise StillReferred(
            "Something depends on the old names that cannot do without them.",
            why=error.diag.message_detail or str(error).splitlines()[0],
            next="Change or drop what is named, then run crm-migrate compat drop again.",
        ) from None
    return Dropped(tuple(gone), tuple(hidden))


def put_back(connection: Connection, settings: Settings, run_id: str) -> None:
    """For a rollback, which reads what the views show: those that were dropped, without their triggers."""
    ended = {item.relation: item for item in promises(connection) if item.dropped_at is not None and not item.present}
    if not ended:
        return
    legacy = LegacySchema.from_json(ledger.get(connection, run_id).summary["legacy"])
    for view in views(connection, settings, legacy):
        if view.name not in ended:
            continue
        if ended[view.name].hidden:
            hidden = sql.Identifier("crm_compat", view.name)
            connection.execute(sql.SQL("alter view {} set schema public").format(hidden))
        else:
            connection.execute(compat_objects.bare(view))


def _drop(connection: Connection, name: str) -> bool:
    """Drop a view; True when it had to be hidden."""
    view = sql.Identifier("public", name)
    for operation in ("insert", "update", "delete"):
        function = sql.Identifier("crm_compat", f"{name}_{operation}")
        connection.execute(sql.SQL("drop function if exists {} cascade").format(function))
    connection.execute(sql.SQL("drop trigger if exists crm_count on {}").format(view))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("drop view {}").format(view))
    except psycopg.errors.DependentObjectsStillExist:
        if not _only_views_read(connection, view):
            raise
        connection.execute(sql.SQL("alter view {} set schema crm_compat").format(view))
        return True
    return False


def _only_views_read(connection: Connection, view: sql.Identifier) -> bool:
    """Whether what depends on the view are rules of views alone, which follow it into another schema."""
    others = database.scalar(
        connection,
        """
        select count(*)
        from pg_catalog.pg_depend
        inner join pg_catalog.pg_class on pg_class.oid = %s::regclass
        where pg_depend.deptype = 'n'
            and pg_depend.classid <> 'pg_catalog.pg_rewrite'::regclass
            and pg_depend.refobjid in (pg_class.oid, pg_class.reltype)
        """,
        [view.as_string(connection)],
    )
    return not others
