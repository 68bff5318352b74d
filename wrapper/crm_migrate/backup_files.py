"""A backup as it lies on the disk: files that only their owner reads, and a manifest that was written last."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crm_migrate import database
from crm_migrate.content import TableContent
from crm_migrate.errors import Exit, MigrationError, Passing

MANIFEST = "manifest.json"
FORMAT = "crm-migrate/backup/2"
LEGACY_UNTOUCHED = "No cutover was made; the legacy tables are as they were."


class BackupFailed(MigrationError):
    """pg_dump did not finish."""

    code = "CRM-200"


class BackupInterrupted(BackupFailed, Passing):
    """pg_dump lost its connection: the same is done again."""

    code, exit_code = "CRM-207", Passing.exit_code


class BackupDiskFull(BackupFailed):
    """No room for the backup. What was written of it is removed."""

    code = "CRM-201"


class BackupIncomplete(BackupFailed):
    """A folder without a manifest: the backup never finished, or it is none."""

    code, exit_code = "CRM-202", Exit.USAGE


class BackupAltered(BackupFailed):
    """A file of the backup is missing, truncated or changed."""

    code = "CRM-203"


@dataclass(frozen=True)
class Backup:
    """A finished backup, as its manifest describes it."""

    path: Path
    run_id: str
    database: str
    server_version: int
    created_at: datetime
    files: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, TableContent]
    not_dumped: Mapping[str, Any]
    locked_state: Mapping[str, Any] | None
    # what changed between the dump and the lock, table by table: see backup_delta
    delta: Mapping[str, Any] | None = None

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(int(file["bytes"]) for file in self.files.values())


def read(path: Path) -> Backup:
    """What the manifest says, unchecked.

    Raises:
        BackupIncomplete: no manifest.
        BackupAltered: one that cannot be read.
    """
    try:
        document = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BackupIncomplete(
            f"{path} is not a finished backup: it has no {MANIFEST}.", next="crm-migrate backup list"
        ) from None
    except (OSError, ValueError) as error:
        raise BackupAltered(
            f"{path / MANIFEST} cannot be read.", why=str(error), next="crm-migrate backup create"
        ) from error
    try:
        if document.pop("format") != FORMAT:
            raise ValueError("another format")
        document["created_at"] = datetime.fromisoformat(document["created_at"])
        document["tables"] = {name: TableContent(**values) for name, values in document["tables"].items()}
        return Backup(path=path, **document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BackupAltered(
            f"{path / MANIFEST} is not a manifest of crm-migrate.", why=str(error), next="crm-migrate backup create"
        ) from error


def verify(path: Path) -> Backup:
    """Compare every file with the manifest.

    Raises:
        BackupIncomplete, BackupAltered: the latter names the files.
    """
    backup = read(path)
    found = checksums(path)
    wrong = [f"{name} is missing" for name in backup.files.keys() - found.keys()]
    wrong += [f"{name} does not belong to it" for name in found.keys() - backup.files.keys()]
    for name in backup.files.keys() & found.keys():
        was, now = backup.files[name], found[name]
        if was["bytes"] != now["bytes"]:
            wrong.append(f"{name} has {now['bytes']} bytes instead of {was['bytes']}")
        elif was["sha256"] != now["sha256"]:
            wrong.append(f"{name} has another checksum")
    if wrong:
        raise BackupAltered(
            f"The backup {path} is not what was written.",
            why="; ".join(sorted(wrong)[:5]) + ".",
            state=LEGACY_UNTOUCHED,
            next="crm-migrate backup create makes a new one.",
        )
    return backup


def list_backups(folder: Path) -> list[Backup]:
    """The finished backups below a folder, newest first. Folders without a readable manifest are left out."""
    found = []
    for manifest in folder.glob(f"*/{MANIFEST}"):
        try:
            found.append(read(manifest.parent))
        except BackupFailed:
            continue
    return sorted(found, key=lambda backup: backup.created_at, reverse=True)


def checksums(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found[str(file.relative_to(path))] = {"bytes": file.stat().st_size, "sha256": digest}
    return found


def write(backup: Backup) -> Backup:
    """Private modes first, then the manifest, whole or not at all."""
    _make_private(backup.path)
    document = {
        "format": FORMAT,
        "run_id": backup.run_id,
        "database": backup.database,
        "server_version": backup.server_version,
        "created_at": backup.created_at.isoformat(),
        "files": backup.files,
        "tables": {name: table.as_dict() for name, table in backup.tables.items()},
        "not_dumped": backup.not_dumped,
        "locked_state": backup.locked_state,
        "delta": backup.delta,
    }
    unfinished = backup.path / f"{MANIFEST}.unfinished"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, sort_keys=True, default=str)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(backup.path / MANIFEST)
    folder = os.open(backup.path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return backup


def _make_private(path: Path) -> None:
    path.chmod(0o700)
    for item in path.rglob("*"):
        item.chmod(0o700 if item.is_dir() else 0o600)


def new_folder(parent: Path, name: str) -> Path:
    """A new private folder; one that an interrupted backup left is removed."""
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    for path in (parent / candidate for candidate in names):
        if path.exists() and not (path / MANIFEST).exists():
            shutil.rmtree(path)
        if not path.exists():
            path.mkdir(mode=0o700)
            return path
    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(parent / name))


def failure(said: str, path: Path) -> BackupFailed:
    why = " ".join(said.strip().splitlines()[-3:])
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return BackupDiskFull(
            f"The disk of {path.parent} is full; the backup was given up and removed.",
            why=why,
            state=LEGACY_UNTOUCHED,
            next="Make room, or set backup_dir to another disk, and run the same command again.",
        )
    return (BackupInterrupted if database.LOST.search(said) else BackupFailed)(
        "pg_dump failed; nothing of the backup is kept.",
        why=why,
        state=LEGACY_UNTOUCHED,
        next="Remove the cause and run the same command again.",
    )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise failure("No space left on device", path) from error
        raise BackupFailed(
            f"The backup cannot be written to {path}.",
            why=error.strerror or str(error),
            state=LEGACY_UNTOUCHED,
            next="Set backup_dir to a folder that this account may write to.",
        ) from error
