"""Several people at one database: two who start at once, one whose machine dies, and sessions that are in the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crm_migrate import access, control, lock
from crm_migrate import database as db
from crm_migrate.errors import Exit
from crm_migrate.server import EmbeddedServer
from crm_migrate.settings import Settings
from crm_migrate.steps import verify
from running import program, unlocked

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

# the machine dies under the lock, as soon as the test lets it
DIES = """
import os, signal, time
from crm_migrate import fault_points
def reached(point):
    if point == "apply.lock.done":
        while not os.path.exists({sign!r}):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
fault_points.reached = reached
"""


def on_host(name: str) -> str:
    """Code that makes this process one of another host: truly, where a namespace for the host's name may be made."""
    if shutil.which("unshare") and subprocess.run(["unshare", "--uts", "true"], check=False).returncode == 0:
        new_uts = 0x04000000
        return f"import ctypes, socket\nctypes.CDLL(None).unshare({new_uts})\nsocket.sethostname({name!r})"
    return f"import socket\nsocket.gethostname = lambda: {name!r}"


@pytest.mark.fault(number=17)
@pytest.mark.fault(number=18)
def test_one_of_two_operators_wins_and_when_its_machine_dies_another_goes_on(
    tried_2026: Connection, mapped: MakeSettings, tmp_path: Path
) -> None:
    settings = mapped(tried_2026)
    name = tried_2026.info.dbname
    sign = tmp_path / "die"
    runs = {
        host: program(
            settings,
            *("apply", "--confirm-database", name, "--json"),
            prelude=on_host(host) + DIES.format(sign=str(sign)),
        )
        for host in ("alpha", "beta")
    }
    deadline = time.monotonic() + 120
    while not any(run.poll() is not None for run in runs.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (loser,) = [host for host, run in runs.items() if run.poll() is not None]
    (winner,) = {*runs} - {loser}
    told, said = runs[loser].communicate(timeout=10)
    assert runs[loser].returncode == Exit.WRONG_STATE, told + said
    error = json.loads(told)["error"]
    assert error["code"] == "CRM-104"
    assert f"{lock.operator_name()} on {winner}" in error["what"], "by whom, from where"
    assert f"process {runs[winner].pid}" in error["what"]
    assert "since 20" in error["what"]

    sign.touch()
    runs[winner].communicate(timeout=120)
    assert runs[winner].returncode == -signal.SIGKILL
    assert lock.owner(tried_2026) is not None
    shown = ask(settings, "status", "--json")
    assert shown["locked_by"]["host"] == winner
    assert shown["locked_by"]["alive"] is False
    assert "crm-migrate unlock" in shown["next_command"]
    assert "crm-migrate apply" in shown["next_command"]

    third = program(settings, "apply", "--confirm-database", name, "--json", prelude=on_host("gamma"))
    told, said = third.communicate(timeout=250)
    assert third.returncode == 0, told + said
    assert unlocked(tried_2026)
    assert verify.run(tried_2026, settings).ok
    made = tried_2026.execute("select host, state from crm_migration.runs where kind = 'apply'").fetchall()
    assert made == [("gamma", "completed")], "one run, whoever worked on it"


def ask(settings: Settings, *arguments: str) -> dict[str, Any]:
    run = program(settings, *arguments)
    told, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    document: dict[str, Any] = json.loads(told)
    return document


def test_the_server_is_told_to_notice_a_machine_that_is_gone(
    legacy_2026: Connection, make_settings: MakeSettings, postgres: EmbeddedServer
) -> None:
    settings = make_settings(legacy_2026, dsn=postgres.tcp_dsn(legacy_2026.info.dbname))
    with db.connect(settings) as connection:
        shown = {
            name: connection.execute(sql.SQL("show {}").format(sql.Identifier(name))).fetchone()
            for name in ("tcp_keepalives_idle", "tcp_keepalives_interval", "client_connection_check_interval")
        }
    assert shown == {
        "tcp_keepalives_idle": ("30",),
        "tcp_keepalives_interval": ("10",),
        "client_connection_check_interval": ("10s",),
    }


@contextmanager
def people_at_work(dsn: str, statement: str) -> Iterator[list[float]]:
    """Somebody who is neither the blocker nor the application; how long each of the statements took, in seconds."""
    took: list[float] = []
    over = threading.Event()

    def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not over.is_set():
                began = time.monotonic()
                connection.execute(statement.encode())
                took.append(time.monotonic() - began)
                over.wait(0.02)

    person = threading.Thread(target=work)
    person.start()
    try:
        yield took
    finally:
        over.set()
        person.join()


@pytest.mark.fault(number=8)
def test_a_lock_of_somebody_else_is_refused_by_name_and_nobody_queues_behind_us(
    tried_2026: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(tried_2026, lock_timeout=4.0)
    control.install(tried_2026, settings)
    before = access.capture(tried_2026)
    dsn = tried_2026.info.dsn
    with psycopg.connect(dsn, application_name="nightly import") as busy:
        busy.execute("update public.contact_notes set text = text where id = 1")
        with people_at_work(dsn, "update public.companies set city = city where id = 1") as took:
            began = time.monotonic()
            run = program(
                settings,
                *("apply", "--confirm-database", tried_2026.info.dbname, "--json"),
                CRM_MIGRATE_LOCK_TIMEOUT="4",
            )
            told, said = run.communicate(timeout=120)
            seconds = time.monotonic() - began
        pid = busy.info.backend_pid
        busy.rollback()
    assert run.returncode == Exit.WRONG_STATE, told + said
    error = json.loads(told)["error"]
    assert error["code"] == "CRM-108"
    assert f"session {pid} " in error["why"]
    assert "nightly import" in error["why"]
    assert "contact_notes" in error["why"]
    assert "postgres" in error["why"], "its user"
    assert seconds > 4, "it was not waited for"
    # a try takes 0.6 s at most; what is above it is this machine being busy
    assert 0.2 < max(took) < 2.5, f"the longest wait was {max(took):.1f} s"
    assert access.capture(tried_2026) == before
    assert unlocked(tried_2026)
