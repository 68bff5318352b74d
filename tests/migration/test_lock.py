"""The maintenance lock: nobody writes while it is held, and everything is as before afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import access, control, database, doctor, lock, table_locks
from crm_migrate.settings import Settings
from owners import ROLE, documented

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

LOGIN = "select rolcanlogin, rolconnlimit from pg_catalog.pg_roles where rolname = 'authenticator'"


def locked(connection: Connection, settings: Settings) -> access.AccessState:
    control.install(connection, settings)
    return lock.acquire(connection, settings, run_id="test")


def test_nobody_writes_not_even_the_owner(legacy: Connection, make_settings: MakeSettings) -> None:
    locked(legacy, make_settings(legacy))
    for statement in (
        "insert into public.companies (name, created_at) values ('late', now())",
        "update public.deals set name = 'late'",
        "delete from public.contacts",
        "truncate public.tags",
    ):
        with pytest.raises(psycopg.Error) as refused:
            legacy.execute(statement)
        assert refused.value.sqlstate == "PT503"
        assert "maintenance" in str(refused.value)


def test_a_replica_session_is_stopped_too(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    locked(legacy_2026, make_settings(legacy_2026))
    legacy_2026.execute("set session_replication_role = replica")
    with pytest.raises(psycopg.Error, match="maintenance"):
        legacy_2026.execute("update public.deals set name = 'late'")


def test_the_application_cannot_connect_and_its_sessions_end(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    as_application = psycopg.conninfo.make_conninfo(legacy_2026.info.dsn, user="authenticator")
    with psycopg.connect(as_application, autocommit=True) as application:
        locked(legacy_2026, make_settings(legacy_2026))
        with pytest.raises(psycopg.OperationalError):
            application.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(as_application).close()


def test_unlock_restores_access_exactly(legacy: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy)
    legacy.execute("alter role authenticator connection limit 7")
    legacy.execute("grant update (name, stage) on public.deals to service_role with grant option")
    control.install(legacy, settings)
    before, login = access.capture(legacy), legacy.execute(LOGIN).fetchone()

    lock.acquire(legacy, settings)
    assert access.capture(legacy).grants != before.grants, "nothing was revoked"
    assert lock.release(legacy, settings)

    assert access.capture(legacy) == before
    assert legacy.execute(LOGIN).fetchone() == login == (True, 7)
    legacy.execute("update public.deals set name = name")


def test_lock_is_taken_over_after_a_crash_without_forgetting_the_state_before(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    settings = make_settings(legacy_2026)
    control.install(legacy_2026, settings)
    before = access.capture(legacy_2026)
    lock.acquire(legacy_2026, settings)
    with database.connect(settings) as other_machine:
        assert lock.acquire(other_machine, settings) == before
        lock.release(other_machine, settings)
    assert access.capture(legacy_2026) == before


def test_second_operator_is_told_who_and_since_when(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy_2026)
    control.install(legacy_2026, settings)
    lock.claim(legacy_2026)
    lock.acquire(legacy_2026, settings)
    with database.connect(settings) as second, pytest.raises(lock.LockHeld) as refused:
        lock.claim(second)
    assert lock.operator_name() in refused.value.what
    assert "since" in refused.value.what
    owner = lock.owner(legacy_2026)
    assert owner is not None
    assert owner.alive


def test_a_busy_table_is_a_refusal_that_names_the_session_and_undoes_everything(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    settings = make_settings(legacy_2026, lock_timeout=1.0)
    control.install(legacy_2026, settings)
    before = access.capture(legacy_2026)
    with psycopg.connect(legacy_2026.info.dsn, application_name="long import") as busy:
        busy.execute("update public.deals set name = name")
        with pytest.raises(lock.FenceBlocked) as refused:
            lock.acquire(legacy_2026, settings)
        assert "long import" in refused.value.why
        busy.rollback()
    assert access.capture(legacy_2026) == before
    assert lock.owner(legacy_2026) is None
    assert legacy_2026.execute(LOGIN).fetchone() == (True, -1)


@contextmanager
def autovacuum_at(connection: Connection, table: str) -> Iterator[Callable[[], set[int]]]:
    """An autovacuum that takes its time at a large new table; gives what tells its process as long as it is there."""

    def at_work() -> set[int]:
        found = connection.execute(
            "select pid from pg_stat_progress_vacuum where datname = current_database() and relid = %s::regclass",
            [table],
        )
        return {pid for (pid,) in found}

    connection.execute(
        f"create table {table} with ("
        " autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
        ") as select id, repeat('x', 500) as line from generate_series(1, 20000) as id"
    )
    connection.execute(f"alter table {table} add primary key (id)")
    connection.execute(f"update {table} set line = 'y'")
    connection.execute("alter system set autovacuum_naptime = '1s'")
    try:
        connection.execute("select pg_reload_conf()")
        until = time.monotonic() + 60
        while not at_work():
            assert time.monotonic() < until, "no autovacuum came"
            time.sleep(0.1)
        yield at_work
    finally:
        connection.execute("alter system reset autovacuum_naptime")
        connection.execute("select pg_reload_conf()")


def test_an_autovacuum_gives_way_while_people_go_on_writing(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    table = "public.imported_lines"
    settings = make_settings(legacy_2026, lock_timeout=2.0)
    control.install(legacy_2026, settings)
    refused: list[str] = []
    over = threading.Event()

    def write() -> None:
        with psycopg.connect(legacy_2026.info.dsn, autocommit=True) as people:
            while not over.is_set():
                # as long as a waiting lock would hold them up
                people.execute("set statement_timeout = '300ms'")
                try:
                    people.execute(f"insert into {table} select max(id) + 1 from {table}".encode())
                except psycopg.errors.QueryCanceled as error:
                    refused.append(str(error))

    with autovacuum_at(legacy_2026, table) as at_work:
        [vacuum] = at_work()
        with psycopg.connect(legacy_2026.info.dsn) as waiting:
            waiting.execute("set local lock_timeout = '500ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                waiting.execute(f"lock table {table}".encode())
            assert "an autovacuum" in table_locks.describe_blockers(legacy_2026)
        people = threading.Thread(target=write)
        people.start()
        began = time.monotonic()
        try:
            legacy_2026.execute("select crm_migration.send_autovacuum_away(array[%s::regclass])", [table])
        finally:
            took = time.monotonic() - began
            over.set()
            people.join()
        assert vacuum not in at_work()
        assert took < 1.0, "deadlock_timeout, which this role may shorten"
        assert database.scalar(legacy_2026, "show deadlock_timeout") == "1s"
        assert not refused
        assert database.scalar(legacy_2026, f"select count(*) from {table}") > 20_000, "people wrote meanwhile"
    with autovacuum_at(legacy_2026, f"{table}_again"):
        lock.acquire(legacy_2026, settings)
    assert legacy_2026.execute("select count(*) from crm_migration.fenced_tables()").fetchone() != (0,)


def test_fence_covers_hostile_names(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    name = 'x"; drop table public.tags; --'
    legacy_2026.execute(sql.SQL("create table {} (id int)").format(sql.Identifier("public", name)))
    legacy_2026.execute(sql.SQL("create role {}").format(sql.Identifier("Robert'); --")))
    legacy_2026.execute(
        sql.SQL("grant insert on {} to {}").format(sql.Identifier("public", name), sql.Identifier("Robert'); --"))
    )
    settings = make_settings(legacy_2026)
    control.install(legacy_2026, settings)
    before = access.capture(legacy_2026)
    lock.acquire(legacy_2026, settings)
    with pytest.raises(psycopg.Error, match="maintenance"):
        legacy_2026.execute(sql.SQL("insert into {} values (1)").format(sql.Identifier("public", name)))
    lock.release(legacy_2026, settings)
    assert access.capture(legacy_2026) == before
    legacy_2026.execute(sql.SQL("drop table {}").format(sql.Identifier("public", name)))
    legacy_2026.execute(sql.SQL("drop role {}").format(sql.Identifier("Robert'); --")))


def test_unlock_twice_is_harmless(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy_2026)
    locked(legacy_2026, settings)
    assert lock.release(legacy_2026, settings)
    assert not lock.release(legacy_2026, settings)


def test_doctor_names_the_layers_that_the_lock_holds(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy_2026)
    assert_announced(legacy_2026, settings, ("fence", "grants", "logins", "sessions", "owner"))
    assert_announced(
        legacy_2026, make_settings(legacy_2026, shut_out_logins=False), ("fence", "grants", "sessions", "owner")
    )


@pytest.mark.parametrize("reachable", [True, False], ids=["every login role", "one login role beyond reach"])
def test_doctor_looks_at_every_login_role_of_the_application(
    legacy_2026: Connection, make_settings: MakeSettings, reachable: bool
) -> None:
    # `authenticator` is not the only one that writes: an import job logs in by itself
    legacy_2026.execute("create role nightly_import login in role authenticated")
    try:
        with documented(legacy_2026, "owner", "logins"):
            if reachable:
                legacy_2026.execute("grant nightly_import to crm_migrator with admin option")
            else:
                legacy_2026.execute("revoke pg_signal_backend from crm_migrator")
            dsn = psycopg.conninfo.make_conninfo(legacy_2026.info.dsn, user=ROLE)
            settings = make_settings(legacy_2026, dsn=dsn)
            layers = ("fence", "grants", "logins", "sessions", "owner") if reachable else ("fence", "grants", "owner")
            with database.connect(settings) as connection:
                assert_announced(connection, settings, layers)
    finally:
        legacy_2026.execute("drop role nightly_import")


def assert_announced(connection: Connection, settings: Settings, layers: tuple[str, ...]) -> None:
    """What the doctor says before the control schema is there, and what the lock holds then; also when taken over."""
    assert doctor.examine(connection, settings).layers == layers
    for _ in range(2):
        locked(connection, settings)
        owner = lock.owner(connection)
        assert owner is not None
        assert owner.layers == layers
    lock.release(connection, settings)
