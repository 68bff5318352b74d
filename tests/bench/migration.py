"""The whole migration as an operator runs it: dry run, apply, verify, rollback, cold and warm."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from bench import commands, edits
from bench.figures import Figures
from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

COLD, WARM, BUSY = "cold", "warm", "busy"


def run(connection: Connection, settings: Settings, kind: str) -> Figures:
    """Migrate and go back; the database is a legacy CRM again afterwards, with archive and backup taken away.

    Args:
        connection: to the legacy CRM.
        settings: its folders are used up to `work_dir`; others are made beside it.
        kind: `cold` builds everything under the lock; `warm` follows edits made since the dry run; `busy` is as warm,
            with somebody who goes on working in every table until the lock.
    """
    name = connection.info.dbname
    with tempfile.TemporaryDirectory(prefix="crm-bench-", dir=settings.work_dir) as folder:
        own = replace(settings, work_dir=Path(folder), backup_dir=Path(folder) / "backups")
        figures: Figures = {"database_bytes": {"before": _size(connection)}}
        figures["dry-run"] = commands.run(connection, own, "dry-run", kind="dry-run")
        if kind != COLD:
            figures["edits"] = edits.make(connection)
        cold = ("--cold",) if kind == COLD else ()
        with edits.going_on(own) if kind == BUSY else nullcontext():
            figures["apply"] = commands.run(connection, own, "apply", "--confirm-database", name, *cold, kind="apply")
        figures["database_bytes"] |= {"after": _size(connection), "archive": _archive_size(connection)}
        figures["backup_bytes"] = sum(path.stat().st_size for path in own.backup_dir.rglob("*") if path.is_file())
        figures["verify"] = commands.run(connection, own, "verify")
        figures["rollback"] = commands.run(
            connection, own, "rollback", "--discard-changes", "--confirm-database", name, kind="rollback"
        )
    estimate = figures["dry-run"]["document"]["estimate"]
    figures["downtime_seconds"] = float(figures["apply"]["document"]["downtime_seconds"])
    named = "downtime_seconds" if kind == COLD else "warm_downtime_seconds"
    figures["estimated_seconds"] = float(estimate[named])
    for command in ("dry-run", "apply", "verify", "rollback"):
        # of no use once read, and as long as everything else together
        del figures[command]["document"]
    return figures


def _size(connection: Connection) -> int:
    return int(database.scalar(connection, "select pg_database_size(current_database())"))


def _archive_size(connection: Connection) -> int:
    return int(
        database.scalar(
            connection,
            "select coalesce(sum(pg_total_relation_size(pg_class.oid)), 0) from pg_catalog.pg_class"
            " inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace"
            " where nspname = 'crm_archive' and relkind = 'r'",
        )
    )


def copied(maintenance: Connection, template: str, name: str, *, last: bool = False) -> None:
    """A database like the template, whose pages are written before anybody is timed.

    Args:
        last: nobody needs the template any more: it is taken itself, and the room for a copy is saved.
    """
    database.drop_database(maintenance, name)
    make = "alter database {template} rename to {name}"
    if not last:
        make = "create database {name} template {template} strategy file_copy"
    maintenance.execute(sql.SQL(make).format(name=sql.Identifier(name), template=sql.Identifier(template)))
    maintenance.execute("checkpoint")
