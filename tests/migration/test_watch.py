"""`status --watch` beside a run: on a real terminal of 80 columns, without colours, and in a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg

from crm_migrate import paths
from crm_migrate.settings import Settings
from crm_migrate.steps import apply
from paused import Paused, running
from screen import COLOUR, COLUMNS, ROWS, Screen

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

WATCH = [sys.executable, "-m", "crm_migrate", "status", "--watch"]


def test_a_run_is_watched_on_a_terminal_without_colours_and_in_a_pipe(
    tried_2026: Connection, mapped: MakeSettings
) -> None:
    settings = mapped(tried_2026, heartbeat_seconds=0.2)
    environ = {
        **os.environ,
        "PYTHONPATH": str(paths.PROJECT / "wrapper"),
        "DATABASE_URL": settings.dsn,
        "CRM_MIGRATE_LOG_FILE": str(settings.log_file),
    }
    environ.pop("NO_COLOR", None)
    observer = Paused("gates")
    with running(settings, apply.run, observer):
        with observer.before("gates"):
            screens = [Screen(WATCH, environ), Screen(WATCH, {**environ, "NO_COLOR": "1"})]
            piped = subprocess.Popen(WATCH, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert piped.stdout is not None
            line = piped.stdout.readline()
            for screen in screens:
                shown = screen.read_until(lambda text: "Next:" in text and "Locked by" in text)
                assert screen.lines() < ROWS
                rows = {words[0]: words[1] for words in map(str.split, shown.splitlines()) if len(words) > 1}
                assert (rows["prepare"], rows["cutover"]) == ("done", "pending")
        ended = [screen.end() for screen in screens]
    rest, said = piped.communicate(timeout=60)
    assert line.startswith("apply "), said
    for screen, shown in zip(screens, ended, strict=True):
        assert screen.process.returncode == 0
        # in place: one table only
        assert shown.count("archive  ") == 1
        assert ": completed" in shown
        assert "Next: crm-migrate verify" in shown
        # the cursor is there again
        assert screen.written.count("\x1b[?25h") == screen.written.count("\x1b[?25l") == 1
    assert not COLOUR.search(screens[1].written)
    assert piped.returncode == 0
    assert "\x1b" not in line + rest
    assert max(map(len, rest.splitlines())) <= COLUMNS
    assert rest.count("archive  ") == 1
    assert ": completed" in rest
