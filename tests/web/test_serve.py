"""The command `serve` as it is started by people and scripts."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg

from crm_migrate.errors import Exit
from crm_migrate.settings import Settings
from running import program

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def test_serve_says_where_it_is_and_ends_when_it_is_told(legacy_2026: Connection, make_settings: MakeSettings) -> None:
    settings = make_settings(legacy_2026)
    started = program(settings, "serve", "--port", "0")
    assert started.stdout is not None
    status, review = (started.stdout.readline().split()[-1] for _ in range(2))
    assert review.startswith(status + "review?token=")
    assert httpx.get(status + "api/status").json()["state"] == "not_scheduled"
    with httpx.stream("GET", status + "events") as stream:
        next(stream.iter_lines())
        ending = time.monotonic()
        # somebody still looks on
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=30)
    assert started.returncode == 0, said
    assert time.monotonic() - ending < 15
    token = review.partition("=")[2]
    assert token not in settings.log_file.read_text() + said


def test_a_port_that_is_taken_and_a_database_that_is_not_there(
    legacy_2026: Connection, make_settings: MakeSettings
) -> None:
    settings = make_settings(legacy_2026)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = program(settings, "serve", "--json", "--port", str(other.getsockname()[1]))
        shown, said = refused.communicate(timeout=60)
    assert refused.returncode == Exit.USAGE, said
    assert "cannot be taken" in json.loads(shown)["error"]["what"]
    nowhere = program(make_settings(legacy_2026, dsn="host=/nowhere"), "serve", "--port", "0", "--json")
    shown, said = nowhere.communicate(timeout=60)
    assert nowhere.returncode == Exit.USAGE, said
    assert json.loads(shown)["error"]["code"] == "CRM-020"
