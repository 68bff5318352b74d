"""The program's own commands, each in a process of its own, and what each of them took."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from bench import progress
from bench.figures import Figures
from crm_migrate import database, ledger
from crm_migrate.database import Connection
from crm_migrate.settings import Settings
from faults.memory import TELL
from running import program

# steps that are told apart by their own clock: the transaction is what nobody can work beside
_CLOCKED = {"cutover": "transaction", "rehearsal": "transaction"}


class CommandFailed(RuntimeError):
    """A command of the program did not end with 0."""


def run(connection: Connection, settings: Settings, *arguments: str, kind: str | None = None) -> Figures:
    """Run a command and measure it.

    Args:
        connection: another one to the same database, to read the ledger.
        settings: what the command is told.
        arguments: its words; `--json` is added.
        kind: of the run whose steps are told; None for a command that is none.

    Returns:
        `seconds` by the clock, start of Python included, `peak_bytes` of its process, `wal_bytes`, `steps` and
        `models` (seconds by name), and its JSON `document`.

    Raises:
        CommandFailed: with all that it said.
    """
    before = database.scalar(connection, "select pg_current_wal_insert_lsn()")
    began = time.perf_counter()
    process = program(settings, *arguments, "--json", prelude=TELL)
    said, complained = process.communicate()
    seconds = time.perf_counter() - began
    progress.done(arguments[0], began)
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(arguments)} ended with {process.returncode}\n{said}\n{complained}")
    peak = re.search(r"^peak (\d+)$", complained, re.MULTILINE)
    wal = database.scalar(connection, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", [before])
    return {
        "seconds": seconds,
        "peak_bytes": int(peak[1]) if peak else 0,
        "wal_bytes": int(wal),
        **(_ledger(connection, kind) if kind else {}),
        "document": json.loads(said),
    }


def _ledger(connection: Connection, kind: str) -> Figures:
    run = ledger.latest(connection, kind)
    if run is None:
        raise CommandFailed(f"The ledger knows no {kind}")
    steps: dict[str, Any] = {}
    models: dict[str, float] = {}
    for step in ledger.steps(connection, run.run_id):
        if step.state != "done":
            continue
        steps[step.name] = step.seconds or 0.0
        if step.name in _CLOCKED and "seconds" in step.detail:
            steps[f"{step.name}: {_CLOCKED[step.name]}"] = float(step.detail["seconds"])
        for name, seconds in step.detail.get("models", {}).items():
            models[name] = models.get(name, 0.0) + float(seconds)
    return {"steps": steps, "models": models}
