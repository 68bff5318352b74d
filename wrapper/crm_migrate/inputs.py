"""What a run is made of: a dry run's verdict holds only for the same models, mappings, checks, settings and schema."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from crm_migrate import __version__, paths
from crm_migrate.access import AccessState
from crm_migrate.database import Connection
from crm_migrate.errors import NoGo
from crm_migrate.settings import Settings

_SUFFIXES = {".sql", ".yml", ".yaml", ".csv", ".md"}
_NAMES = {
    "models": "the dbt models",
    "seeds": "the mapping files",
    "checks": "the Soda checks",
    "sql": "the SQL of the cutover",
    "settings": "the settings",
    "schema": "the legacy schema",
    "program": "the program's version",
}


class InputsChanged(NoGo):
    """What was tried is not what would be run."""

    code = "CRM-319"


def take(connection: Connection, settings: Settings, *, locked: AccessState | None = None) -> dict[str, str]:
    """The fingerprint of everything that decides what a run does, part by part.

    Args:
        locked: the access before the maintenance lock, when that is held: what the lock changed does not count.
    """
    from crm_migrate import fingerprint

    return {
        "models": _hash_folder(paths.DBT_PROJECT, left_by_dbt=("target", "logs", "dbt_packages")),
        "seeds": of_seeds(settings),
        "checks": _hash_folder(paths.SODA),
        "sql": _hash_folder(paths.SQL),
        "settings": settings.fingerprint,
        "schema": fingerprint.schema_digest(connection, locked),
        "program": __version__,
    }


def of_seeds(settings: Settings) -> str:
    """The fingerprint of the mapping files as they are now."""
    return _hash_folder(settings.seeds_dir)


def require_same(before: Mapping[str, str], now: Mapping[str, str], *, since: str, next: str) -> None:
    """Refuse when a part differs.

    Raises:
        InputsChanged: names the parts.
    """
    changed = [_NAMES.get(part, part) for part in now if before.get(part) != now[part]]
    if changed:
        listed = changed[0] if len(changed) == 1 else ", ".join(changed[:-1]) + " and " + changed[-1]
        raise InputsChanged(
            what=f"Since {since}, {listed} changed.",
            why="What would be run is not what was tried.",
            next=next,
        )


def _hash_folder(folder: Path, *, left_by_dbt: tuple[str, ...] = ()) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path.suffix in _SUFFIXES and inside.parts[0] not in left_by_dbt:
            total.update(inside.as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
