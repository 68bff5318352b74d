"""Commands of the archive: status, export, purge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, ConfirmDatabase, Debug, Dsn, Json

archive = typer.Typer(help="The legacy tables as they were, kept for 90 days.", no_args_is_help=True)
app.add_typer(archive, name="archive")


@archive.command("status")
def archive_status(dsn: Dsn = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Check every archived table against its checksum, and say how long it is kept. Changes nothing.

    Example: crm-migrate archive status
    """
    with invocation("archive status", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate.cli import render_archive
        from crm_migrate.steps import archive as step

        with call.connection() as connection:
            call.finish(step.status(connection), render_archive.status)


@archive.command("export")
def archive_export(
    dsn: Dsn = None,
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder; else one in the work folder.", show_default=False)
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the archive into compressed CSV files with a manifest, and read them back. Changes nothing.

    Example: crm-migrate archive export --out legacy-2026
    """
    with invocation("archive export", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render_archive
        from crm_migrate.steps import archive as step

        log.open_log(call.settings, "archive export")
        with call.connection() as connection:
            call.finish(step.export(connection, call.settings, out), render_archive.export)


@archive.command("purge")
def archive_purge(
    dsn: Dsn = None,
    config: Config = None,
    confirm_database: ConfirmDatabase = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Give the archive up when its time is over. There is no way back.

    Example: crm-migrate archive purge --confirm-database crm
    """
    with invocation("archive purge", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render_archive
        from crm_migrate.cli.progress import Watch
        from crm_migrate.steps import archive as step

        log.open_log(call.settings, "archive purge")
        with call.connection() as connection:
            call.confirm_database(connection, confirm_database)
            with Watch(call.settings, quiet=json) as watch:
                result = step.purge(connection, call.settings, watch)
        call.finish(result, render_archive.purge)
