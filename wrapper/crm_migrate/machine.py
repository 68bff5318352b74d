"""What the migration needs of this machine and of the server's: programs and room on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psycopg

from crm_migrate import database, tools
from crm_migrate.checks import Check
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError
from crm_migrate.settings import Settings

# a compressed dump is never larger than the tables it holds
BACKUP_FACTOR = 1.0
# of what the legacy tables take: build, versions and hashes; the archive; the copy that the restore test restores
SERVER_FACTOR = 1.75 + 0.95 + 1.0
# the write-ahead log of all that, of which the server keeps no more than it is told
_LOG_FACTOR = 4.5
SMALLEST = 64 * 1024 * 1024


def client_tools(connection: Connection) -> list[Check]:
    """pg_dump and pg_restore, not older than the server."""
    major = connection.info.server_version // 10000
    tls = bool(connection.pgconn.ssl_in_use)
    checks = []
    for name in ("pg_dump", "pg_restore"):
        try:
            tool = tools.find(name, server_major=major, tls=tls)
        except MigrationError as error:
            why = f" {error.why}" if error.why else ""
            checks.append(Check.failed(f"tools.{name}", f"{error.what}{why}", error.next))
        else:
            checks.append(Check(f"tools.{name}", True, "blocker", f"{name} {tool.major} is at {tool.path}."))
    return checks


def disk(connection: Connection, settings: Settings) -> list[Check]:
    """Room for the backup here, and for build, archive and restore test on the server when that is this machine."""
    sizes = _sizes(connection)
    legacy = sizes["legacy"]
    checks = [_room("disk.backup", settings.backup_dir, legacy * BACKUP_FACTOR, "the backup")]
    checks.append(_room("disk.work", settings.work_dir, SMALLEST, "logs and reports"))
    needed = _needed(sizes)
    data = _local_data_directory(connection)
    if data is None:
        told = f"The server's disk cannot be seen from here; it needs {_size(needed)} free"
        checks.append(Check("disk.server", True, "info", f"{told}: the CRM's tables take {_size(legacy)}."))
    else:
        checks.append(_room("disk.server", data, needed, "build, archive and restore test"))
    return checks


def legacy_bytes(connection: Connection) -> int:
    """What all tables take with their indexes, but for those of the migration itself."""
    return _sizes(connection)["legacy"]


def server_bytes(connection: Connection) -> int:
    """What build, archive, restore test and write-ahead log take beyond what a dry run keeps already."""
    return _needed(_sizes(connection))


def _needed(sizes: Mapping[str, int]) -> int:
    legacy = sizes["legacy"]
    return max(int(legacy * SERVER_FACTOR) - sizes["there"], 0) + min(sizes["log"], int(legacy * _LOG_FACTOR))


def _sizes(connection: Connection) -> Mapping[str, int]:
    """Bytes of the `legacy` tables, of what is `there` of the migration, and of the `log` that the server may keep."""
    (sizes,) = database.rows(
        connection,
        """
        with tables as (
            select
                pg_namespace.nspname in ('crm_build', 'crm_versions', 'crm_archive', 'crm_migration') as is_own,
                pg_catalog.pg_total_relation_size(pg_class.oid) as bytes
            from pg_catalog.pg_class
            inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
            where pg_class.relkind in ('r', 'p', 'm')
                and pg_namespace.nspname not in ('information_schema', 'pg_catalog', 'pg_toast')
        )

        select
            coalesce(sum(bytes) filter (where not is_own), 0)::bigint as legacy,
            coalesce(sum(bytes) filter (where is_own), 0)::bigint as there,
            pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')) as log
        from tables
        """,
    )
    return sizes


def _local_data_directory(connection: Connection) -> Path | None:
    host = connection.info.host
    local = host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1")
    if not local:
        return None
    try:
        found = database.scalar(connection, "select current_setting('data_directory')")
    except psycopg.errors.InsufficientPrivilege:
        return None
    path = Path(str(found))
    # a container's address may be local while its files are not
    return path if path.is_dir() else None


def _room(check_id: str, folder: Path, needed: float, purpose: str) -> Check:
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    wanted = int(max(needed, SMALLEST))
    free = shutil.disk_usage(existing).free
    if check_id != "disk.server" and not os.access(existing, os.W_OK):
        return Check.failed(
            check_id, f"The folder {folder} cannot be written to.", "Choose another one in the settings."
        )
    return Check.of(
        check_id,
        free >= wanted,
        f"{_size(free)} free for {purpose}, {_size(wanted)} needed ({existing}).",
        f"Only {_size(free)} free for {purpose}, {_size(wanted)} needed ({existing}).",
        "Make room, or choose another folder in the settings.",
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
