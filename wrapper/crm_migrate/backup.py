"""The backup: made by pg_dump and brought back by pg_restore."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from crm_migrate import backup_delta, backup_files, content, database, fault_points, roles, tools
from crm_migrate.backup_files import (
    MANIFEST,
    Backup,
    BackupAltered,
    BackupDiskFull,
    BackupFailed,
    BackupIncomplete,
    disk_errors,
    list_backups,
    read,
    verify,
)
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError, WrongState
from crm_migrate.settings import Settings, without_password

__all__ = [
    "Backup",
    "BackupAltered",
    "BackupDiskFull",
    "BackupFailed",
    "BackupIncomplete",
    "RestoreFailed",
    "RestoreTargetNotEmpty",
    "create",
    "delete",
    "list_backups",
    "read",
    "restore",
    "split_schemas",
    "verify",
]

JOBS = 2


class RestoreFailed(MigrationError):
    """pg_restore did not bring everything back."""

    code = "CRM-204"


class RestoreTargetNotEmpty(WrongState):
    """A backup is restored into an empty database only."""

    code = "CRM-206"


def create(
    connection: Connection,
    settings: Settings,
    *,
    run_id: str,
    folder: Path,
    locked_state: Mapping[str, Any] | None = None,
    snapshot: str | None = None,
) -> Backup:
    """Dump the database into a new folder below `folder`.

    Counts, hashes and dump see the same snapshot. The manifest is written last: a folder without one is no backup.

    Args:
        connection: in autocommit mode; busy until the dump is done.
        settings: the connection that pg_dump uses.
        run_id: names the folder.
        folder: where backups are kept.
        locked_state: what the maintenance lock found before it changed anything.
        snapshot: an exported one, for a dump that others read beside; its own by default.

    Raises:
        tools.ToolMissing, tools.ToolTooOld: no pg_dump for this server.
        BackupDiskFull, BackupFailed: nothing of it is left.
    """
    pg_dump = _tool("pg_dump", connection)
    session = f"crm-migrate backup {run_id}"[:63]
    _end_orphans(connection, session)
    database_name = connection.info.dbname
    with disk_errors(folder):
        path = backup_files.new_folder(folder, f"{_file_name(database_name)}-{run_id}")
    try:
        dumped, not_dumped = split_schemas(connection, settings)
        with connection.transaction(), disk_errors(path):
            connection.execute("set transaction isolation level repeatable read, read only")
            if snapshot is not None:
                # before any query
                connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
            # the transaction idles while pg_dump works
            connection.execute("select set_config('idle_in_transaction_session_timeout', '0', true)")
            snapshot = snapshot or database.scalar(connection, "select pg_export_snapshot()")
            arguments = ["--format=directory", f"--jobs={JOBS}", "--compress=1", f"--file={path / 'dump'}"]
            arguments += [f"--snapshot={snapshot}", "--no-password"]
            arguments += [f"--exclude-schema={_pattern(name)}" for name in not_dumped["schemas"]]
            with tools.started(pg_dump, arguments, settings.dsn, session=session) as process:
                fault_points.reached("backup.dumping")
                tables = content.read(connection, [name for name in (settings.schema, "crm_archive") if name in dumped])
                done = process.wait()
        if done.exit_code:
            raise backup_files.failure(done.said, path)
        fault_points.reached("backup.dumped")
        with disk_errors(path):
            made = backup_files.write(
                Backup(
                    path=path,
                    run_id=run_id,
                    database=database_name,
                    server_version=connection.info.server_version,
                    created_at=datetime.now(UTC),
                    files=backup_files.checksums(path),
                    tables=tables,
                    not_dumped=not_dumped,
                    locked_state=locked_state,
                )
            )
        fault_points.reached("backup.manifest-written")
        return made
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def delete(backup: Backup) -> None:
    """Remove a backup that has served its purpose."""
    # without its manifest it is no backup any more, however far this comes
    (backup.path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(backup.path)


def restore(path: Path, dsn: str, *, own_roles: bool | None = None) -> Backup:
    """Restore a backup, checked first, into an empty database.

    Args:
        path: the backup's folder.
        dsn: the database to restore into.
        own_roles: with owners, grants, publications; by default where the role is a superuser, who may set them.

    Raises:
        BackupIncomplete, BackupAltered: nothing was restored.
        RestoreTargetNotEmpty: nothing was restored.
        RestoreFailed: the target is half filled; drop it.
    """
    backup = verify(path)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _require_empty(connection)
        pg_restore = _tool("pg_restore", connection)
        target_version = connection.info.server_version
        own_roles = roles.has(connection, "rolsuper") if own_roles is None else own_roles
    arguments = ["--format=directory", f"--jobs={JOBS}", "--no-password"]
    # a subscription would start to copy
    arguments.append("--no-subscriptions")
    if not own_roles:
        arguments += ["--no-owner", "--no-acl", "--no-publications", "--no-comments"]
    with tools.started(
        pg_restore, [*arguments, str(path / "dump")], dsn, session="crm-migrate restore", target=True
    ) as process:
        done = process.wait()
    errors = _unexpected_errors(done.said, backup, target_version)
    if errors or (done.exit_code and "pg_restore: error:" not in done.said):
        if "No space left on device" in done.said:
            errors = ["The server's disk is full.", *errors]
        raise RestoreFailed(
            f"The backup {path.name} was not restored into {without_password(dsn)}.",
            why=" ".join(errors[:3]) or done.said[-500:],
            state="The database that was restored into is incomplete. The origin and the backup are as they were.",
            next="Drop the incomplete database, remove the cause, restore again.",
        )
    if backup.delta is not None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            wrong = backup_delta.bring(connection, backup)
        if wrong:
            raise RestoreFailed(
                f"What changed between the dump and the lock was not restored into {without_password(dsn)}.",
                why=" ".join(wrong[:5]),
                state="The database that was restored into is not to be used. The backup is as it was.",
                next="Drop the database, and restore another backup: crm-migrate backup list.",
            )
    return backup


def _tool(name: str, connection: Connection) -> tools.Tool:
    major = connection.info.server_version // 10000
    return tools.find(name, server_major=major if name == "pg_dump" else 0, tls=bool(connection.pgconn.ssl_in_use))


def _end_orphans(connection: Connection, session: str) -> None:
    """A crashed run's pg_dump may still read, and hold locks that the cutover would wait for."""
    connection.execute(
        "select pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
        " where application_name = %s and datname = current_database() and usename = current_user",
        [session],
    )


_FOREIGN_SCHEMAS = """
    select nspname
    from pg_catalog.pg_namespace
    where not starts_with(nspname, 'pg_') and nspname <> 'information_schema' and not has_schema_privilege(oid, 'usage')
    union
    select nspname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where relkind in ('r', 'p', 'S', 'm') and not starts_with(nspname, 'pg_') and nspname <> 'information_schema'
        and (not has_table_privilege(pg_class.oid, 'select') or row_security_active(pg_class.oid))
"""

_DATABASE_SETTINGS = """
    select coalesce(rolname, ''), setconfig
    from pg_catalog.pg_db_role_setting
    left join pg_catalog.pg_roles on pg_roles.oid = setrole
    where setdatabase = (select oid from pg_catalog.pg_database where datname = current_database())
"""


def split_schemas(connection: Connection, settings: Settings) -> tuple[set[str], dict[str, Any]]:
    """The schemas to dump, and everything that is left out, for the manifest."""
    query = "select nspname from pg_catalog.pg_namespace where not starts_with(nspname, 'pg_')"
    every = {row[0] for row in connection.execute(query)} - {"information_schema"}
    derived = {name for name in every if name in ("crm_build", "crm_versions") or name.startswith("crm_build_")}
    if not database.exists(connection, "crm_archive.deals"):
        derived |= every & {"crm_archive"}  # before the cutover it holds copies of what is dumped anyway
    foreign = {row[0] for row in connection.execute(_FOREIGN_SCHEMAS)} - derived - {settings.schema}
    reasons = dict.fromkeys(derived, "can be built again") | dict.fromkeys(foreign, "not readable for this role")
    left_out = {
        "schemas": dict(sorted(reasons.items())),
        "globals": "roles, their passwords and memberships, tablespaces",
        "database_settings": [[role, values] for role, values in connection.execute(_DATABASE_SETTINGS)],
    }
    return every - derived - foreign, left_out


def _require_empty(connection: Connection) -> None:
    count = database.scalar(
        connection,
        "select count(*) from pg_catalog.pg_class inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace"
        " where not starts_with(nspname, 'pg_') and nspname <> 'information_schema'"
        " and relkind in ('r', 'p', 'v', 'm', 'f')",
    )
    if count:
        raise RestoreTargetNotEmpty(
            f"The database {connection.info.dbname} is not empty: it has {count} tables and views.",
            why="Restoring on top of other tables would mix both.",
            next="Create an empty database, restore into it, and point the application to it.",
        )


def _unexpected_errors(said: str, backup: Backup, target_version: int) -> list[str]:
    """What pg_restore complained about, without the one error that an older server has to raise."""
    found = []
    for line in said.splitlines():
        if "pg_restore: error:" not in line and "pg_restore: fatal:" not in line:
            continue
        if target_version < 170000 and 'unrecognized configuration parameter "transaction_timeout"' in line:
            continue
        if any(
            f'schema "{name}" does not exist' in line or f'"{name}.' in line for name in backup.not_dumped["schemas"]
        ):
            continue
        found.append(line.split("error:", 1)[-1].strip())
    return found


def _file_name(database_name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in database_name)


def _pattern(schema: str) -> str:
    """A schema's name as pg_dump's pattern language has it."""
    return '"' + schema.replace('"', '""') + '"'
