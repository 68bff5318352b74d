"""The server, a session or the network goes away in the middle; the run goes on by itself, or stops resumably."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import database as db
from crm_migrate.errors import ConnectionFailed, Exit, Passing
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from fault_table import whole
from faults import sweep
from faults.disturbed import at, ends_as_uninterrupted, go, once_somebody_waits_for
from faults.sweep import Sweep
from faults.wire import Moment, Network, after, network, saying

Connection = psycopg.Connection[Any]

# whichever test comes first makes the databases for all
pytestmark = pytest.mark.timeout(900)


def through(between: Network, settings: Settings, **values: Any) -> Settings:
    """The same settings, with the network in between."""
    dsn = f"host=127.0.0.1 port={between.port} user=postgres dbname={sweep.database_of(settings)}"
    return replace(settings, dsn=dsn, **values)


def chosen(*cases: Any, sampled: int) -> list[Any]:
    """All cases of `make faults`, or the first of them."""
    return list(cases if whole() else cases[:sampled])


# --- 5: the answer to a COMMIT is lost


@pytest.mark.fault(number=5)
@pytest.mark.parametrize(
    ("scenario", "place", "moment"),
    chosen(
        pytest.param("apply", "cutover.saved", after("insert into crm_migration.migration_history"), id="cutover"),
        pytest.param("apply", "load opportunities planned", after("run_batch('", "'opportunities'"), id="batch"),
        pytest.param(
            "rollback", "rollback.planned", after("delete from crm_migration.migration_history"), id="rollback"
        ),
        pytest.param("apply", "lock.state-stored", after("crm_migration.raise_fence()"), id="fence"),
        pytest.param("apply", "cutover.saved", after("crm_migration.drop_fence()"), id="unlock"),
        # outside of a transaction the answer to the statement is the answer to its commit
        pytest.param("apply", "cutover.saved", after("steps", then="update crm_migration.runs"), id="end of the run"),
        sampled=2,
    ),
)
def test_commit_whose_answer_is_lost_is_not_done_twice(
    swept: Sweep, tmp_path: Path, scenario: str, place: str, moment: Moment
) -> None:
    with swept.begun(scenario, tmp_path, before=place) as (_, settings), network(swept.server) as between:
        between.cut_at(moment)
        told = go(scenario, through(between, settings))
        assert between.happened.is_set(), "the fault did not happen"
        assert any("going on (1 of" in line for line in told)
        ends_as_uninterrupted(swept, scenario, settings)


# --- 3: a session of the migration is ended


@pytest.mark.fault(number=3)
@pytest.mark.parametrize(
    ("scenario", "point", "application"),
    chosen(
        pytest.param("apply", "cutover.before-commit", "crm-migrate", id="cutover"),
        pytest.param("apply", "load opportunities batch 1 written", "crm-migrate dbt", id="batch"),
        pytest.param("apply", "gate.target.evaluated", "crm-migrate", id="gates"),
        pytest.param("apply", "backup.dumping", "crm-migrate backup%", id="backup"),
        pytest.param("apply", "unlock.grants-given-back", "crm-migrate", id="unlock"),
        pytest.param("rollback", "rollback.tables-back", "crm-migrate", id="rollback"),
        sampled=2,
    ),
)
def test_ended_session_is_made_again(swept: Sweep, tmp_path: Path, scenario: str, point: str, application: str) -> None:
    ended: list[int] = []

    def end_it() -> None:
        with psycopg.connect(swept.server.dsn(), autocommit=True) as admin:
            ended.extend(
                row[0]
                for row in admin.execute(
                    "select pid from pg_catalog.pg_stat_activity where datname = %s and application_name like %s"
                    " and pg_terminate_backend(pid, 5000)",
                    [sweep.database_of(settings), application],
                )
            )

    with swept.begun(scenario, tmp_path, before=point) as (_, settings):
        with at(point, end_it) as happened:
            go(scenario, settings)
        assert happened.is_set()
        assert ended, "the fault did not happen"
        ends_as_uninterrupted(swept, scenario, settings)


# --- 4: the server is stopped as in a crash


@pytest.mark.fault(number=4)
@pytest.mark.parametrize(
    ("scenario", "point"),
    chosen(
        pytest.param("apply", "cutover.before-commit", id="cutover"),
        pytest.param("apply", "load opportunities batch 1 written", id="batch"),
        pytest.param("apply", "backup.dumping", id="backup"),
        pytest.param("rollback", "rollback.before-commit", id="rollback"),
        sampled=1,
    ),
)
def test_run_waits_for_a_server_that_was_stopped_immediately(
    swept: Sweep, tmp_path: Path, scenario: str, point: str
) -> None:
    with swept.begun(scenario, tmp_path, before=point) as (connection, settings), network(swept.server) as between:
        keep_commits(connection)
        with at(point, lambda: crash(swept.server)) as happened:
            told = go(scenario, through(between, settings))
        assert happened.is_set()
        assert recovered(swept.server), "the fault did not happen"
        assert any("going on (1 of" in line for line in told)
        ends_as_uninterrupted(swept, scenario, settings)


def keep_commits(connection: Connection) -> None:
    """As every real server does: that of the tests may lose what was committed last when it crashes."""
    connection.execute(
        sql.SQL("alter database {} set synchronous_commit = on").format(sql.Identifier(connection.info.dbname))
    )


def crash(server: EmbeddedServer, *, down_for: float = 1.5) -> None:
    """Stop the server without finishing anything, and start it again later."""
    server.kill_immediately()
    threading.Timer(down_for, server.start).start()


def recovered(server: EmbeddedServer) -> bool:
    """Whether the server's last start came after a crash, by its own words."""
    return "was not properly shut down" in server.log_file.read_text(encoding="utf-8", errors="replace")


@pytest.mark.fault(number=4)
def test_server_is_stopped_in_the_middle_of_the_index_build(swept: Sweep, tmp_path: Path) -> None:
    stopped_in: list[str] = []
    with (
        swept.begun("apply", tmp_path, before="apply.prepare.started") as (connection, settings),
        network(swept.server) as between,
        closing(psycopg.connect(settings.dsn, autocommit=True)) as other,
    ):
        keep_commits(connection)

        def hold_a_table() -> None:
            other.execute("begin; lock table crm_build.contact_organizations in row exclusive mode")

        def crash_in_the_build() -> None:
            stopped_in.extend(
                row[0]
                for row in connection.execute(
                    "select lower(query) from pg_catalog.pg_stat_activity"
                    " where %s = any (pg_catalog.pg_blocking_pids(pid))",
                    [other.info.backend_pid],
                )
            )
            crash(swept.server)

        with at("apply.prepare.started", hold_a_table), once_somebody_waits_for(other, crash_in_the_build):
            told = go("apply", through(between, settings))
        assert "create index" in stopped_in[0]
        assert recovered(swept.server), "the fault did not happen"
        assert any("going on (1 of" in line for line in told)
        ends_as_uninterrupted(swept, "apply", settings)


@pytest.mark.fault(number=4, name="long recovery (57P03)")
def test_connection_waits_while_the_server_recovers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slow = {"wal_level": "replica", "hot_standby": "off", "restore_command": "sleep 2; false"}
    settings = Settings(dsn=f"host=127.0.0.1 port={port} user=postgres dbname=postgres", work_dir=tmp_path)
    with EmbeddedServer(tcp=True, port=port, settings=slow) as server:
        server.kill_immediately()
        # asked for the next segment of its log, it waits for an answer: until then it takes no connection
        (server.data / "recovery.signal").touch()
        starting = threading.Thread(target=server.start)
        starting.start()
        refused = ""
        while "the database system is" not in refused:
            assert starting.is_alive(), "the fault did not happen"
            with pytest.raises(ConnectionFailed) as failed:
                db.connect(replace(settings, recovery_timeout=0.0))
            refused = failed.value.why
        with db.connect(settings) as connection:
            assert db.scalar(connection, "select pg_is_in_recovery()") is False
        starting.join()


# --- 6: the network hangs


@pytest.mark.fault(number=6)
@pytest.mark.parametrize(
    ("scenario", "place", "moment"),
    chosen(
        pytest.param("apply", "cutover.saved", saying("insert into crm_migration.migration_history"), id="cutover"),
        pytest.param("apply", "load opportunities planned", saying("run_batch('", "'opportunities'"), id="batch"),
        pytest.param("apply", "backup.dumping", saying("pg_export_snapshot"), id="backup"),
        pytest.param(
            "rollback", "rollback.planned", saying("delete from crm_migration.migration_history"), id="rollback"
        ),
        sampled=1,
    ),
)
def test_hanging_network_stops_the_run_in_time_and_it_goes_on_later(
    swept: Sweep, tmp_path: Path, scenario: str, place: str, moment: Moment
) -> None:
    with swept.begun(scenario, tmp_path, before=place) as (_, settings), network(swept.server) as between:
        slow = through(between, settings, network_timeout=4.0, recovery_timeout=2.0, connect_timeout=2)
        between.hang_at(moment)
        hung: list[float] = []
        watching = threading.Thread(
            target=lambda: hung.append(time.monotonic()) if between.happened.wait(120) else None, daemon=True
        )
        watching.start()
        with pytest.raises(Passing) as stopped:
            go(scenario, slow)
        took = time.monotonic() - hung[0]
        assert stopped.value.exit_code == Exit.RESUMABLE
        assert f"crm-migrate {scenario}" in stopped.value.next or "same command" in stopped.value.next
        # the question, its answer that does not come, and the attempts to connect again; and a busy machine
        assert took < 60, "nothing ended the hanging run"
        between.heal()
        assert "resumed" in go(scenario, through(between, settings))
        ends_as_uninterrupted(swept, scenario, settings)
