"""No room: in the data directory, in the backup folder, under the log; and a backup that is not what was written."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import backup, demo_data, fault_points, fingerprint, lock, log, trial_restore
from crm_migrate import database as db
from crm_migrate.errors import Exit, Stopped
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import verify
from fault_table import whole
from running import do_it, try_it, unlocked
from small_disk import MEGABYTE, SmallDisk, small_disk
from support import DEMO_CONTACTS

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

_numbers = itertools.count(1)


@contextmanager
def on_disk(server: EmbeddedServer, disk: SmallDisk, template: str) -> Iterator[Connection]:
    """A copy of the template whose files lie on the small disk."""
    space, name = f"small_{next(_numbers)}", f"on_small_disk_{next(_numbers)}"
    folder = disk.path / "tablespace"
    folder.mkdir(mode=0o700)
    owner = server.data.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("create tablespace {} location {}").format(sql.Identifier(space), str(folder)))
        try:
            admin.execute(
                sql.SQL("create database {} template {} tablespace {}").format(
                    *map(sql.Identifier, (name, template, space))
                )
            )
            with db.connect(Settings(dsn=server.dsn(name))) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            admin.execute(sql.SQL("drop tablespace {}").format(sql.Identifier(space)))


@contextmanager
def when_reached(prefix: str, do: Callable[[], None]) -> Iterator[list[str]]:
    """Do something once, at the first fault point of this name; the points where it was done."""
    done: list[str] = []

    def reached(point: str) -> None:
        if point.startswith(prefix) and not done:
            done.append(point)
            do()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fault_points, "reached", reached)
        yield done


@pytest.mark.fault(number=9)
def test_full_data_directory_stops_cleanly_and_goes_on_when_there_is_room(
    postgres: EmbeddedServer, tried_template_2026: str, mapped: MakeSettings
) -> None:
    """The log is on the same disk: it must not break what goes on without it."""
    with small_disk(160 * MEGABYTE) as disk, on_disk(postgres, disk, tried_template_2026) as crm:
        settings = mapped(crm, log_file=disk.path / "logs" / "run.log")
        log.open_log(settings, "apply")

        def fill() -> None:
            disk.fill()
            log.event("not a byte is left")

        with when_reached("load opportunities batch", fill) as filled, pytest.raises(Stopped) as stopped:
            do_it(settings)
        assert filled, "the disk was not filled"
        assert "No space left on device" in stopped.value.why
        assert stopped.value.exit_code == Exit.RESUMABLE
        assert "apply" in stopped.value.next or "same command" in stopped.value.next
        assert lock.owner(crm) is not None, "what is built would be out of date otherwise"
        assert crm.execute("select to_regclass('public.opportunities')").fetchone() == (None,)

        disk.make_room()
        report = do_it(settings)
        assert report.run_id == crm.execute("select max(run_id) from crm_migration.runs").fetchone()[0]  # type: ignore[index]
        assert unlocked(crm)
        assert verify.run(crm, settings).ok
        log.event("there is room again")
        events = [json.loads(line)["event"] for line in settings.log_file.read_text(encoding="utf-8").splitlines()]
        assert events[0] == "command"
        assert events[-1] == "there is room again"
        close_log()


def close_log() -> None:
    for handler in list(log.logger.handlers):
        log.logger.removeHandler(handler)
        handler.close()


@pytest.mark.fault(number=10)
def test_full_backup_folder_means_no_cutover_and_no_manifest(tried_2026: Connection, mapped: MakeSettings) -> None:
    before = fingerprint.take(tried_2026)
    with small_disk(80 * MEGABYTE) as disk:
        settings = mapped(tried_2026, backup_dir=disk.path / "backups")
        with when_reached("apply.backup.started", disk.fill) as filled, pytest.raises(backup.BackupDiskFull) as refused:
            do_it(settings)
        assert filled, "the disk was not filled"
        assert "unlocked" in refused.value.state
        assert list(disk.path.rglob("*manifest*")) == []
        assert backup.list_backups(settings.backup_dir) == []
    untouched(tried_2026, before)


def untouched(connection: Connection, before: fingerprint.Fingerprint) -> None:
    assert unlocked(connection)
    assert connection.execute("select to_regclass('public.opportunities')").fetchone() == (None,)
    assert fingerprint.compare(before, fingerprint.take(connection)) == []


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.fault(number=11)
@pytest.mark.parametrize("damage", [truncate, alter] if whole() else [alter])
def test_backup_that_is_damaged_before_its_restore_test_means_no_cutover(
    tried_2026: Connection, mapped: MakeSettings, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = mapped(tried_2026)
    before = fingerprint.take(tried_2026)
    real = trial_restore.run
    damaged: list[Path] = []

    def restore_test(connection: Connection, settings: Settings, made: backup.Backup) -> trial_restore.RestoreTest:
        largest = max((made.path / "dump").glob("*.dat.gz"), key=lambda file: file.stat().st_size)
        damage(largest)
        damaged.append(largest)
        return real(connection, settings, made)

    monkeypatch.setattr(trial_restore, "run", restore_test)
    with pytest.raises(backup.BackupAltered) as refused:
        do_it(settings)
    assert damaged
    assert damaged[0].name in refused.value.why
    assert "unlocked" in refused.value.state
    untouched(tried_2026, before)


@pytest.mark.fault(number=9, name="disk full under the write-ahead log: the server goes down")
@pytest.mark.timeout(900)
def test_full_disk_under_the_write_ahead_log_stops_resumably(tmp_path: Path) -> None:
    with small_disk(400 * MEGABYTE) as disk, wal_on(disk) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute("create database crm template template0")
        settings = Settings(
            dsn=server.tcp_dsn("crm"),
            work_dir=tmp_path,
            backup_dir=tmp_path / "backups",
            log_file=tmp_path / "log",
            seeds_dir=tmp_path / "seeds",
            batch_size=40,
        )
        with db.connect(settings) as crm:
            demo_data.create_schema(crm, "2026")
            demo_data.load(crm, "2026", contacts=DEMO_CONTACTS)
            demo_data.demo_seeds(crm, settings.seeds_dir)
        assert try_it(settings).verdict == "GO"

        def fill() -> None:
            disk.fill()
            with pytest.raises(psycopg.OperationalError), db.connect(settings) as writer:
                for _ in range(400):
                    writer.execute("select pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))")

        with when_reached("load opportunities batch", fill) as filled, pytest.raises(Stopped) as stopped:
            do_it(settings)
        assert filled, "the disk was not filled"
        assert "PANIC" in server.log_file.read_text(encoding="utf-8", errors="replace")
        assert stopped.value.exit_code == Exit.RESUMABLE

        disk.make_room()
        server.kill_immediately()
        server.start()
        do_it(settings)
        with db.connect(settings) as crm:
            assert unlocked(crm)
            assert verify.run(crm, settings).ok


# a server and a dry run of its own: for `make faults` only
test_full_disk_under_the_write_ahead_log_stops_resumably.__test__ = whole()  # type: ignore[attr-defined]


@contextmanager
def wal_on(disk: SmallDisk) -> Iterator[EmbeddedServer]:
    """A server of its own whose write-ahead log lies on the small disk."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="crm-wal-"))
    home.chmod(0o755)
    server = EmbeddedServer(home / "data", tcp=True, port=port)
    try:
        server.start()
        server.stop()
        wal = server.data / "pg_wal"
        owner = wal.stat()
        moved = disk.path / "pg_wal"
        shutil.move(wal, moved)
        for path in (moved, *moved.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        wal.symlink_to(moved)
        yield server.start()
    finally:
        server.kill_immediately()
        shutil.rmtree(home)
