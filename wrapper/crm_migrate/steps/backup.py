"""Backups by hand: made, checked by restoring, restored for good, listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crm_migrate import backup, ledger, lock, trial_restore
from crm_migrate.database import Connection
from crm_migrate.errors import Exit
from crm_migrate.reports import plain
from crm_migrate.settings import Settings


@dataclass(frozen=True)
class BackupReport:
    """One backup, and whether it was restored on trial."""

    path: Path
    bytes: int
    database: str
    restore_tested: bool | None
    run_id: str | None = None

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {key: value for key, value in plain(self).items() if key not in ("run_id", "database")}


@dataclass(frozen=True)
class BackupList:
    """The backups of the backup folder, newest first."""

    backups: Sequence[backup.Backup]
    run_id: str | None = None

    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return {"backups": plain(self.backups)}


def create(connection: Connection, settings: Settings) -> BackupReport:
    """Back the database up as it is now, without a lock."""
    state = lock.stored_state(connection)
    made = backup.create(
        connection,
        settings,
        run_id=ledger.new_run_id(),
        folder=settings.backup_dir,
        locked_state=None if state is None else state.as_json(),
    )
    return BackupReport(made.path, made.bytes, connection.info.dbname, None)


def verify(connection: Connection, settings: Settings, folder: Path) -> BackupReport:
    """Checksums first, then a restore into a scratch database that is compared with the manifest."""
    made = backup.verify(folder)
    tested = trial_restore.run(connection, settings, made)
    return BackupReport(made.path, made.bytes, connection.info.dbname, tested.ok)


def restore(connection: Connection, settings: Settings, folder: Path) -> BackupReport:
    """Restore into an empty database and unlock it.

    Raises:
        backup.RestoreTargetNotEmpty: the database holds tables already.
    """
    made = backup.restore(folder, settings.dsn)
    lock.release(connection, settings)
    return BackupReport(made.path, made.bytes, connection.info.dbname, True)


def list_all(settings: Settings) -> BackupList:
    """Every backup of the folder whose manifest can be read."""
    return BackupList(backup.list_backups(settings.backup_dir))
