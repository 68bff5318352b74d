"""Running the program in tests: its steps in this process, its commands in a process of their own."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from typing import Any

import psycopg
from typer.testing import CliRunner

from crm_migrate import cli, lock, log, paths
from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.reports import ApplyReport, DryRunReport
from crm_migrate.settings import Settings
from crm_migrate.steps import apply, dry_run

Connection = psycopg.Connection[Any]
_MODULE = ["-m", "crm_migrate"]


def try_it(settings: Settings, **accepted: str) -> DryRunReport:
    with db.connect(settings) as connection:
        return dry_run.run(connection, settings, Silent(), accepted=accepted)


def do_it(settings: Settings, **options: Any) -> ApplyReport:
    with db.connect(settings) as connection:
        return apply.run(connection, settings, Silent(), **options)


def unlocked(connection: Connection) -> bool:
    return (
        lock.owner(connection) is None
        and not connection.execute("select from pg_catalog.pg_trigger where tgname = 'crm_migrate_fence'").fetchone()
    )


def typed(settings: Settings, *arguments: str, **environ: str) -> tuple[int, str]:
    """A command in this process, for tests that run many: its exit code, and all that it said."""
    for module in pkgutil.iter_modules(cli.__path__):
        # they register their commands
        importlib.import_module(f"{cli.__name__}.{module.name}")
    try:
        done = CliRunner().invoke(cli.app, arguments, env={**environment(settings), **environ})
    finally:
        # the log is that of the command and not of the test run
        for handler in list(log.logger.handlers):
            log.logger.removeHandler(handler)
            handler.close()
        log.logger.propagate = True
    return done.exit_code, done.output


def program(settings: Settings, *arguments: str, prelude: str = "", **environ: str) -> subprocess.Popen[str]:
    """Start the program; `prelude` is code that is run first, to tell it of a world that cannot be had here."""
    return subprocess.Popen(
        [
            sys.executable,
            *(["-c", f"{prelude}\nfrom crm_migrate.cli import main; main()"] if prelude else _MODULE),
            *arguments,
        ],
        env={**os.environ, **environment(settings), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(settings: Settings) -> dict[str, str]:
    """What tells the program of its settings."""
    return {
        "PYTHONPATH": str(paths.PROJECT / "wrapper"),
        "DATABASE_URL": settings.dsn,
        "CRM_MIGRATE_WORK_DIR": str(settings.work_dir),
        "CRM_MIGRATE_BACKUP_DIR": str(settings.backup_dir),
        "CRM_MIGRATE_LOG_FILE": str(settings.log_file),
        "CRM_MIGRATE_SEEDS_DIR": str(settings.seeds_dir),
        "CRM_MIGRATE_BATCH_SIZE": str(settings.batch_size),
        "CRM_MIGRATE_REHEARSAL_MAX_SECONDS": str(settings.rehearsal_max_seconds),
        "NO_COLOR": "1",
    }
