"""The trial of a backup: it is restored into a scratch database, and what is there is held against its manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crm_migrate import content, database, fault_points, roles
from crm_migrate.backup import RestoreFailed, restore
from crm_migrate.backup_files import LEGACY_UNTOUCHED, Backup
from crm_migrate.database import Connection
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings

_ENCODING = """
    select pg_encoding_to_char(own.encoding), own.encoding = template.encoding
    from pg_catalog.pg_database as own
    inner join pg_catalog.pg_database as template on template.datname = 'template0'
    where own.datname = current_database()
"""


class RestoreTestFailed(RestoreFailed):
    """The restored database does not hold what the manifest says."""

    code = "CRM-205"


@dataclass(frozen=True)
class RestoreTest:
    """A backup was restored and held what it should."""

    ok: bool
    place: str
    tables: int
    rows: int
    seconds: float


def run(connection: Connection, settings: Settings, backup: Backup) -> RestoreTest:
    """Restore into a scratch database, compare counts and hashes of every table, drop it.

    Raises:
        BackupIncomplete, BackupAltered, RestoreFailed, RestoreTestFailed: there is no backup to rely on.
    """
    with kept(connection, settings, backup) as (result, _):
        return result


@contextmanager
def kept(connection: Connection, settings: Settings, backup: Backup) -> Iterator[tuple[RestoreTest, Settings]]:
    """A scratch database into which the backup was restored and compared; dropped when the block ends.

    It is on the same server; where this role may not create one, in a private server on this machine.

    Raises:
        BackupIncomplete, BackupAltered, RestoreFailed, RestoreTestFailed: there is no backup to rely on.
    """
    begun = time.monotonic()
    with _scratch(connection, settings, backup) as (scratch, where):
        restore(backup.path, scratch.dsn)
        fault_points.reached("backup.restored")
        _compare(backup, scratch)
        rows = sum(table.rows for table in backup.tables.values())
        yield RestoreTest(True, where, len(backup.tables), rows, round(time.monotonic() - begun, 3)), scratch


@contextmanager
def _scratch(connection: Connection, settings: Settings, backup: Backup) -> Iterator[tuple[Settings, str]]:
    if roles.has(connection, "rolcreatedb"):
        place = f"crm_scratch_{backup.run_id}"[:63]
        with _scratch_database(connection, place):
            fault_points.reached("backup.scratch-made")
            yield dataclasses.replace(settings, dsn=make_conninfo(settings.dsn, dbname=place)), f"database {place}"
    else:
        with EmbeddedServer() as server:
            with psycopg.connect(server.dsn(), autocommit=True) as admin:
                roles.copy(connection, admin)
                admin.execute("create database crm_scratch template template0")
            yield dataclasses.replace(settings, dsn=server.dsn("crm_scratch")), "private server"


@contextmanager
def _scratch_database(connection: Connection, name: str) -> Iterator[None]:
    identifier = sql.Identifier(name)
    database.drop_database(connection, name)  # a crashed test of the same run left it
    encoding, as_template = connection.execute(_ENCODING).fetchone() or ("UTF8", True)
    create = sql.SQL("create database {} template template0 {}").format(
        identifier, sql.SQL("" if as_template else "encoding {} locale 'C'").format(sql.Literal(encoding))
    )
    connection.execute(create)
    try:
        # of the database, not of a connection string: a pooler may refuse that. What a crash loses is restored again
        connection.execute(sql.SQL("alter database {} set synchronous_commit = off").format(identifier))
        # what nobody counts is not vacuumed: the database is dropped when the migration is through
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("alter database {} set track_counts = off").format(identifier))
        yield
    finally:
        database.drop_database(connection, name)


def _compare(backup: Backup, scratch: Settings) -> None:
    """Hold what was restored against the manifest.

    Raises:
        RestoreTestFailed: a table is missing, additional or different.
    """
    schemas = {name.split(".", 1)[0] for name in backup.tables}
    with database.connect(scratch, application="crm-migrate restore test") as connection:
        wrong = content.differences(backup.tables, content.read(connection, schemas))
    if wrong:
        raise RestoreTestFailed(
            f"The backup {backup.path.name} restores, but not to what was dumped.",
            why=" ".join(wrong[:5]),
            state=LEGACY_UNTOUCHED,
            next="crm-migrate backup create makes a new one; keep this one for the search for the cause.",
        )
