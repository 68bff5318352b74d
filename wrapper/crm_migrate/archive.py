"""The archive: every legacy table as it was under the lock, sealed with its checksums when the cutover is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql

from crm_migrate import database, dependants, fault_points, parallel
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError, WrongState

if TYPE_CHECKING:
    from crm_migrate.legacy import LegacySchema
    from crm_migrate.settings import Settings

SCHEMA = "crm_archive"


class ArchiveIncomplete(MigrationError):
    """A table that the cutover archives was not there when the legacy tables were read for the last time."""

    code = "CRM-430"


class ArchivePurged(WrongState):
    """The archive was given up; what needs the legacy data is not possible any more."""

    code = "CRM-431"


@dataclass(frozen=True)
class Seal:
    """An archive as its cutover made it: whose it is, and in which database."""

    run_id: str
    system_identifier: str
    database_oid: int
    database_name: str
    sealed_at: datetime
    purge_started_at: datetime | None
    purged_at: datetime | None


@dataclass(frozen=True)
class ArchivedTable:
    """A table of the archive. `problem` is empty when it holds exactly the rows that were sealed."""

    name: str
    rows: int
    sealed_rows: int | None
    bytes: int
    problem: str

    @property
    def ok(self) -> bool:
        """Whether its checksum is the one of the cutover."""
        return not self.problem


def tables(connection: Connection) -> list[str]:
    """The legacy tables but deals, and those of the installation that refer to them, directly or through others."""
    return [
        row[0]
        for row in connection.execute(
            """
            with recursive reached as (
                select pg_class.oid, pg_class.relname
                from pg_catalog.pg_class
                where pg_class.relnamespace = 'public'::regnamespace
                    and pg_class.relkind = 'r'
                    and pg_class.relname in (
                        'companies', 'contacts', 'deals', 'tasks', 'sales', 'tags', 'deal_notes', 'dealNotes',
                        'contact_notes', 'contactNotes', 'configuration', 'favicons_excluded_domains'
                    )
                union
                select child.oid, child.relname
                from reached
                inner join pg_catalog.pg_constraint
                    on pg_constraint.confrelid = reached.oid
                    and pg_constraint.contype = 'f'
                inner join pg_catalog.pg_class as child on child.oid = pg_constraint.conrelid and child.relkind = 'r'
                where child.relnamespace = 'public'::regnamespace
            )
            select relname::text from reached where relname <> 'deals' order by 1
            """
        )
    ]


def copy(connection: Connection, legacy: LegacySchema, settings: Settings | None = None) -> int:
    """Copy the tables into the archive schema; returns the rows that it holds. Safe to repeat under the lock:

    a copy that is there, whole or from an earlier try, is made again.

    Args:
        settings: copy the tables side by side, on connections of their own.
    """
    del legacy  # the names are read from the catalog
    wanted = tables(connection)
    with connection.transaction():
        connection.execute("create schema if not exists crm_archive")
        # an archive that an earlier run left, before its rollback or its end, is replaced by this one
        connection.execute("delete from crm_migration.archives where purged_at is null")
        for name in stored(connection):
            if name not in wanted:
                connection.execute(sql.SQL("drop table {}").format(sql.Identifier(SCHEMA, name)))
        connection.execute(
            "comment on schema crm_archive is"
            " 'crm-migrate: the legacy tables as they were before the migration. Kept for 90 days.'"
        )
    sized = connection.execute(
        "select name, crm_migration.key_of(oid::regclass) from crm_migration.own_relations('public')"
        " where name = any(%s) order by pg_relation_size(oid) desc, name",
        [wanted],
    ).fetchall()
    pieces = [partial(_copy, name, key or []) for name, key in sized]
    if settings is None:
        rows = [copy_one(connection) for copy_one in pieces]
    else:
        rows = parallel.run(settings, pieces, application="crm-migrate archive")
    connection.execute("select crm_migration.keep_to_owner('crm_archive')")
    return sum(rows)


def catch_up(connection: Connection, changes: Mapping[str, tuple[str, tuple[str, ...]]]) -> int:
    """Bring copies that were made before the lock to the state under it. Safe to repeat under the lock.

    Args:
        changes: by table, the table with the keys of its changed rows, and the key; other tables are copied again.

    Returns:
        The rows that were new, gone or different.
    """
    total = 0
    for name in tables(connection):
        if name not in changes:
            key = database.scalar(
                connection,
                "select crm_migration.key_of(%s::regclass)",
                [sql.Identifier("public", name).as_string(None)],
            )
            total += _copy(name, key or [], connection)
            continue
        place, key = changes[name]
        source, target = sql.Identifier("public", name), sql.Identifier(SCHEMA, name)
        parts = {
            "source": source,
            "target": target,
            "changes": sql.SQL(place),
            "key": sql.SQL(", ").join(map(sql.Identifier, key)),
            "same": sql.SQL(" and ").join(
                sql.SQL("kept.{0} = changes.{0}").format(sql.Identifier(part)) for part in key
            ),
            "columns": sql.SQL(", ").join(
                sql.Identifier(row[0]) for row in connection.execute(_COLUMNS, [target.as_string(None)])
            ),
        }
        with connection.transaction():
            total += connection.execute(
                sql.SQL("delete from {target} as kept using {changes} as changes where {same}").format(**parts)
            ).rowcount
            total += connection.execute(
                sql.SQL(
                    "insert into {target} ({columns})"
                    " select {columns} from only {source} inner join {changes} using ({key})"
                ).format(**parts)
            ).rowcount
        fault_points.reached(f"archive.{name}")
    return total


_COLUMNS = """
    select attname from pg_catalog.pg_attribute
    where attrelid = %s::regclass and attnum > 0 and not attisdropped
    order by attnum
"""


def seal(connection: Connection, run_id: str) -> None:
    """In the cutover's transaction: write down what the archive has to hold from now on, and which database this is.

    The checksums are those of the legacy tables, taken under the lock for the fingerprint: a copy that is not equal to
    what it was made of is found, too.

    Raises:
        ArchiveIncomplete: a table of the archive is not in the fingerprint.
    """
    connection.execute("select crm_migration.keep_to_owner('crm_archive')")
    connection.execute("delete from crm_migration.archives where run_id = %s", [run_id])
    connection.execute(
        "insert into crm_migration.archives (run_id, system_identifier, database_oid, database_name)"
        " select %s, system_identifier, database_oid, database_name from crm_migration.identity_of_database()",
        [run_id],
    )
    connection.execute(
        """
        insert into crm_migration.archived_tables (run_id, table_name, row_count, hash)
        select before.run_id, own.name, (content.value ->> 'rows')::bigint, content.value ->> 'hash'
        from crm_migration.fingerprints as before
        cross join lateral jsonb_each(before.content -> 'contents') as content (name, value)
        inner join crm_migration.own_relations('crm_archive') as own on own.name = content.name and own.kind = 'r'
        where before.run_id = %s and before.kind = 'before'
        """,
        [run_id],
    )
    sealed = {row[0] for row in connection.execute(_SEALED, [run_id])}
    unknown = [name for name in stored(connection) if name not in sealed]
    if unknown or "deals" not in sealed:
        raise ArchiveIncomplete(
            f"The archive cannot be sealed: {', '.join(unknown) or 'deals'} has no checksum.",
            state="Nothing was changed; the CRM is still in maintenance.",
            next="crm-migrate unlock, then crm-migrate dry-run and crm-migrate apply again.",
        )


_SEALED = "select table_name from crm_migration.archived_tables where run_id = %s"


def latest(connection: Connection) -> Seal | None:
    """The newest archive that a cutover made, purged or not."""
    if not database.exists(connection, "crm_migration.archives"):
        return None
    found = database.rows(connection, "select * from crm_migration.archives order by sealed_at desc limit 1")
    return Seal(**found[0]) if found else None


def check(connection: Connection, run_id: str) -> list[ArchivedTable]:
    """Read every table of the archive and compare it with the seal; missing and additional tables are in the list."""
    sealed = {
        name: (rows, digest)
        for name, rows, digest in connection.execute(
            "select table_name, row_count, hash from crm_migration.archived_tables where run_id = %s", [run_id]
        )
    }
    present = {
        name: (rows, digest)
        for name, rows, digest in connection.execute("select * from crm_migration.table_contents('crm_archive')")
    }
    sizes: dict[str, int] = dict(
        connection.execute(
            "select name, pg_total_relation_size(oid) from crm_migration.own_relations('crm_archive') where kind = 'r'"
        ).fetchall()
    )
    return [
        ArchivedTable(
            name,
            present[name][0] if name in present else 0,
            sealed[name][0] if name in sealed else None,
            sizes.get(name, 0),
            _problem(sealed.get(name), present.get(name)),
        )
        for name in sorted({*sealed, *present})
    ]


def require_whole(connection: Connection, run_id: str) -> None:
    """For what reads the legacy data.

    Raises:
        ArchivePurged: the purge of this run's archive has begun, or is over.
    """
    kept = latest(connection)
    if kept is None or kept.run_id != run_id or kept.purge_started_at is None:
        return
    done = kept.purged_at is not None
    raise ArchivePurged(
        f"The legacy data of run {run_id} is gone: its archive was purged at"
        f" {kept.purged_at or kept.purge_started_at:%Y-%m-%d %H:%M} UTC{'' if done else ', not yet to the end'}.",
        state="The CRM works with the new tables; nothing was changed by this command.",
        next="crm-migrate archive status"
        if done
        else "crm-migrate archive purge goes on. The state before the migration is in the backup only.",
    )


def stored(connection: Connection) -> list[str]:
    """The tables of the archive schema, deals among them after a cutover."""
    if not database.scalar(connection, "select to_regnamespace('crm_archive') is not null"):
        return []
    query = "select name from crm_migration.own_relations('crm_archive') where kind = 'r' order by 1"
    return [row[0] for row in connection.execute(query)]


def _problem(sealed: tuple[int, str] | None, present: tuple[int, str] | None) -> str:
    if sealed is None:
        return "is not a table of this archive"
    if present is None:
        return "is missing"
    if sealed[0] != present[0]:
        return f"has {present[0]:,} rows instead of {sealed[0]:,}"
    return "" if sealed == present else "has as many rows as it had, but not the same"


def names(connection: Connection) -> list[str]:
    """The tables that the archive schema holds."""
    return [row[0] for row in connection.execute("select name from crm_migration.own_relations('crm_archive')")]


def restore(connection: Connection) -> None:
    """Exactly the rows of before. Without foreign keys meanwhile: neither order nor cascades matter then."""
    copies = [
        row[0]
        for row in connection.execute(
            "select own.name from crm_migration.own_relations('crm_archive') as own"
            " inner join crm_migration.own_relations('public') as here using (name) where here.kind = 'r'"
        )
    ]
    keys = database.rows(connection, "select * from crm_migration.foreign_keys_of(%s)", [copies])
    for key in keys:
        connection.execute(
            sql.SQL("alter table {} drop constraint {}").format(
                sql.SQL(dependants.statement(key["table_name"])), sql.Identifier(key["name"])
            )
        )
    for name in copies:
        connection.execute(
            "select crm_migration.restore_from_copy(%s::regclass, %s::regclass)",
            [sql.Identifier(schema, name).as_string(None) for schema in ("public", SCHEMA)],
        )
    for key in keys:
        connection.execute(dependants.statement(key["definition"]))
        dependants.comment_constraint(connection, key["table_name"], key["name"], key["comment"])


def _copy(name: str, key: list[str], connection: Connection) -> int:
    source, target = sql.Identifier("public", name), sql.Identifier(SCHEMA, name)
    with connection.transaction():
        connection.execute(sql.SQL("drop table if exists {}").format(target))
        # it never changes and is purged: an autovacuum would only take the cores away from the migration
        create = sql.SQL("create table {} with (autovacuum_enabled = false) as table {}").format(target, source)
        rows = connection.execute(create).rowcount
        columns = sql.SQL(", ").join(map(sql.Identifier, key))
        if key:
            connection.execute(sql.SQL("alter table {} add primary key ({})").format(target, columns))
        connection.execute(
            sql.SQL("comment on table {} is {}").format(
                target, sql.Literal(f"public.{name} as it was before the migration.")
            )
        )
        fault_points.reached(f"archive.{name}.copied")
    # nothing looks for rows of the archive by other columns
    connection.execute(sql.SQL("analyze {} ({})" if key else "analyze {}").format(target, columns))
    fault_points.reached(f"archive.{name}")
    return rows
