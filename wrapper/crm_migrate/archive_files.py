"""The archive as files: a compressed CSV per table and a manifest, read back before they are believed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from crm_migrate import archive, database, fault_points
from crm_migrate.archive import Seal
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, MigrationError, UsageError

MANIFEST = "manifest.json"
FORMAT = "crm-migrate/archive/1"
_BLOCK = 1 << 20
_TRIAL = sql.Identifier("pg_temp", "crm_migrate_read_back")


class ExportDiffers(MigrationError):
    """What was read back is not what the archive holds, or what it was sealed with."""

    code, exit_code = "CRM-432", Exit.VERIFICATION_FAILED


@dataclass(frozen=True)
class ExportedTable:
    """A table in a file: rows, bytes and SHA-256 of the file; `hash` is that of the rows' text."""

    table: str
    file: str
    rows: int
    hash: str
    bytes: int
    sha256: str
    columns: Sequence[dict[str, str]]


def write(connection: Connection, seal: Seal, folder: Path) -> list[ExportedTable]:
    """Write every table of the archive into a new folder, which only its owner reads; all of it or nothing.

    Raises:
        UsageError: the folder exists.
        ExportDiffers: a file, read back into a table, is not what was sealed.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already.", next="--out FOLDER, another one")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    try:
        made = []
        for name in archive.stored(connection):
            made.append(_write_table(connection, name, unfinished))
            _read_back(connection, seal, made[-1], unfinished)
            fault_points.reached(f"export.{name}")
        manifest = {
            "format": FORMAT,
            "run_id": seal.run_id,
            "database": seal.database_name,
            "sealed_at": seal.sealed_at.isoformat(),
            "server_version": connection.info.server_version,
            "tables": [asdict(item) for item in made],
        }
        with _own_file(unfinished / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2).encode())
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return made


def _write_table(connection: Connection, name: str, folder: Path) -> ExportedTable:
    path = folder / f"{_file_name(name)}.csv.gz"
    table = sql.Identifier(archive.SCHEMA, name)
    with _own_file(path) as file:
        # no name and no time in it: the same rows make the same file
        with (
            gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed,
            connection.cursor() as cursor,
        ):
            query = sql.SQL("copy (select * from {}) to stdout (format csv, header, encoding 'UTF8')").format(table)
            with cursor.copy(query) as copy:
                for block in copy:
                    packed.write(block)
            rows = cursor.rowcount
        file.flush()
        os.fsync(file.fileno())
    columns = database.rows(
        connection,
        "select attname::text as name, format_type(atttypid, atttypmod) as type from pg_catalog.pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        [table.as_string(connection)],
    )
    content = database.rows(
        connection, "select * from crm_migration.content_of(%s::regclass)", [table.as_string(connection)]
    )[0]
    return ExportedTable(name, path.name, rows, content["hash"], path.stat().st_size, _sha256(path), columns)


def _read_back(connection: Connection, seal: Seal, exported: ExportedTable, folder: Path) -> None:
    """Load the file into a temporary table: only what comes out of it again was written."""
    with connection.transaction(force_rollback=True):
        connection.execute(
            sql.SQL("create temporary table {} (like {}) on commit drop").format(
                sql.Identifier("crm_migrate_read_back"), sql.Identifier(archive.SCHEMA, exported.table)
            )
        )
        load = sql.SQL("copy {} from stdin (format csv, header, encoding 'UTF8')").format(_TRIAL)
        with connection.cursor() as cursor, cursor.copy(load) as copy:
            for block in _unpacked(folder / exported.file):
                copy.write(block)
        back = database.rows(
            connection, "select * from crm_migration.content_of('pg_temp.crm_migrate_read_back'::regclass)"
        )[0]
    sealed = connection.execute(
        "select row_count, hash from crm_migration.archived_tables where run_id = %s and table_name = %s",
        [seal.run_id, exported.table],
    ).fetchone()
    if sealed is not None and sealed != (back["row_count"], back["hash"]):
        raise ExportDiffers(
            f"The table {exported.table} in its file is not the one that was archived:"
            f" {back['row_count']:,} rows, {sealed[0]:,} were sealed.",
            state="Nothing was changed; the files are removed again.",
            next="crm-migrate archive status says which tables of the archive are not as they were.",
        )


def _unpacked(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _file_name(table: str) -> str:
    # a table of the installation may have any name
    return "".join(letter if letter.isalnum() or letter in "_-" else f"%{ord(letter):02x}" for letter in table)


def _own_file(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
