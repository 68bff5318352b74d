"""Work side by side: what is done, what an error ends, and what everybody sees."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate import parallel
from crm_migrate.database import Connection
from crm_migrate.errors import ConnectionFailed
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings


@pytest.fixture
def settings(postgres: EmbeddedServer, tmp_path: Path) -> Settings:
    return Settings(dsn=postgres.dsn(), work_dir=tmp_path, log_file=tmp_path / "log")


def sleeper(begun: threading.Event) -> Callable[[Connection], int]:
    """A piece that takes a minute, unless it is cancelled."""

    def sleep(connection: Connection) -> int:
        begun.set()
        connection.execute("select pg_sleep(60)")
        return 0

    return sleep


def test_pieces_run_at_the_same_time_and_their_results_keep_the_order(settings: Settings) -> None:
    both = threading.Barrier(2)

    def piece(number: int) -> Callable[[Connection], tuple[int, int]]:
        def do(connection: Connection) -> tuple[int, int]:
            if number < 2:
                both.wait(30)
            return number, db.scalar(connection, "select pg_backend_pid()")

        return do

    done = parallel.run(settings, [piece(number) for number in range(5)], connections=2)

    assert [number for number, _ in done] == [0, 1, 2, 3, 4]
    assert len({backend for _, backend in done}) == 2
    assert parallel.run(settings, []) == []


def test_error_ends_the_others_and_nothing_new_begins(settings: Settings) -> None:
    begun = threading.Event()
    later = threading.Event()

    def fail(connection: Connection) -> int:
        begun.wait(30)
        connection.execute("select 1 / 0")
        return 1

    def note(connection: Connection) -> int:
        later.set()
        return 2

    started = time.monotonic()
    with pytest.raises(psycopg.errors.DivisionByZero):
        parallel.run(settings, [sleeper(begun), fail, note])

    assert time.monotonic() - started < 30, "the sleeping piece was not cancelled"
    assert not later.is_set()


def test_interrupt_ends_what_is_at_work(settings: Settings) -> None:
    begun = threading.Event()

    def interrupt(connection: Connection) -> int:
        begun.wait(30)
        _thread.interrupt_main()
        connection.execute("select pg_sleep(60)")
        return 1

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel.run(settings, [sleeper(begun), interrupt])
    assert time.monotonic() - started < 30


def test_snapshot_and_parameters_are_those_of_every_connection(settings: Settings, database: Connection) -> None:
    database.execute("create table public.seen as select 1 as id")
    own = Settings(dsn=database.info.dsn, work_dir=settings.work_dir, log_file=settings.log_file)
    with database.transaction():
        database.execute("set transaction isolation level repeatable read")
        snapshot = db.scalar(database, "select pg_export_snapshot()")
        with psycopg.connect(database.info.dsn, autocommit=True) as other:
            other.execute("insert into public.seen values (2)")

        def look(connection: Connection) -> tuple[int, str]:
            return (
                db.scalar(connection, "select count(*) from public.seen"),
                db.scalar(connection, "select current_setting('work_mem')"),
            )

        done = parallel.run(own, [look, look, look], snapshot=snapshot, session={"work_mem": "77MB"})

    assert done == [(1, "77MB")] * 3
    assert parallel.run(own, [look])[0][0] == 2


def test_server_that_is_not_there_is_said(settings: Settings) -> None:
    with pytest.raises(ConnectionFailed):
        parallel.run(settings, [lambda connection: 1], database_name="nowhere")
