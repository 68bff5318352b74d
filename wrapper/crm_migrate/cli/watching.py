"""Watching a run from another window: refreshed in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from crm_migrate import status
from crm_migrate.cli import render
from crm_migrate.cli.progress import describe
from crm_migrate.cli.terminal import stdout
from crm_migrate.database import Connection
from crm_migrate.status import Status

_LOOK_EVERY_SECONDS = 1.0
_LINE_EVERY_SECONDS = 10.0


def follow(connection: Connection) -> None:
    """Show the newest run until it ends."""
    console = stdout()
    if console.is_terminal:
        _in_place(connection, console)
    else:
        _in_lines(connection, console)


def _in_place(connection: Connection, console: Console) -> None:
    found = status.read(connection)
    with Live(render.status_view(found), console=console, auto_refresh=False) as live:
        while found.alive:
            time.sleep(_LOOK_EVERY_SECONDS)
            found = status.read(connection)
            live.update(render.status_view(found), refresh=True)


def _in_lines(connection: Connection, console: Console) -> None:
    found = status.read(connection)
    said, said_at = "", 0.0
    while found.alive:
        doing = _doing(found)
        if doing != said or time.monotonic() - said_at >= _LINE_EVERY_SECONDS:
            batches = f", {describe(found.batches)}" if found.batches and found.batches.total else ""
            console.print(Text(f"{found.kind} {found.run_id}: {doing}{batches}"))
            console.file.flush()
            said, said_at = doing, time.monotonic()
        time.sleep(_LOOK_EVERY_SECONDS)
        found = status.read(connection)
    render.status(console, found)


def _doing(found: Status) -> str:
    """The steps at work."""
    running = [step.name.replace("_", " ") for step in found.steps if step.state == "running"]
    return " and ".join(running) or "between two steps"
