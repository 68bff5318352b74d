"""Commands around the migration: backup, docs, config, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, ConfirmDatabase, Debug, Dsn, Json, Seeds

backup = typer.Typer(help="Backups: pg_dump's directory format with a manifest and checksums.", no_args_is_help=True)
app.add_typer(backup, name="backup")

if TYPE_CHECKING:
    from crm_migrate.settings import Settings

Folder = Annotated[Path, typer.Argument(help="Folder of one backup.")]


@backup.command("create")
def backup_create(dsn: Dsn = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Dump the database and write a manifest. Changes nothing.

    Example: crm-migrate backup create
    """
    with invocation("backup create", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render
        from crm_migrate.steps import backup as step

        log.open_log(call.settings, "backup create")
        with call.connection() as connection:
            call.finish(step.create(connection, call.settings), render.backup)


@backup.command("verify")
def backup_verify(
    folder: Folder, dsn: Dsn = None, config: Config = None, json: Json = False, debug: Debug = False
) -> None:
    """Check the files against the manifest and restore the backup into a scratch database.

    Example: crm-migrate backup verify .crm-migrate/backups/20261121-2200
    """
    with invocation("backup verify", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate.cli import render
        from crm_migrate.steps import backup as step

        with call.connection() as connection:
            call.finish(step.verify(connection, call.settings, folder), render.backup)


@backup.command("restore")
def backup_restore(
    folder: Folder,
    dsn: Dsn = None,
    config: Config = None,
    confirm_database: ConfirmDatabase = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Restore a backup into the empty database of the connection, and unlock it.

    Example: crm-migrate backup restore FOLDER --dsn postgresql://postgres@localhost/crm_restored
    """
    with invocation("backup restore", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.cli import render
        from crm_migrate.steps import backup as step

        log.open_log(call.settings, "backup restore")
        with call.connection() as connection:
            call.confirm_database(connection, confirm_database)
            call.finish(step.restore(connection, call.settings, folder), render.backup)


@backup.command("list")
def backup_list(config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """List the backups of the backup folder.

    Example: crm-migrate backup list
    """
    with invocation("backup list", config=config, json=json, debug=debug) as call:
        from crm_migrate.cli import render
        from crm_migrate.steps import backup as step

        call.finish(step.list_all(call.settings), render.backups)


@app.command()
def docs(
    dsn: Dsn = None,
    config: Config = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Another file than lineage.html in the work folder.", show_default=False),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the models' documentation with their lineage as one static file. Reports link that of the work folder.

    Example: crm-migrate docs --out lineage.html
    """
    with invocation("docs", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import lineage

        with call.connection():
            written = lineage.write(call.settings, out and out.absolute())
        if json:
            call.document({"path": str(written), "bytes": written.stat().st_size})
        else:
            typer.echo(str(written))


@app.command("config")
def show_config(
    dsn: Dsn = None, config: Config = None, seeds: Seeds = None, json: Json = False, debug: Debug = False
) -> None:
    """Show each setting, its value and where it comes from.

    Example: crm-migrate config
    """
    with invocation("config", dsn=dsn, config=config, json=json, debug=debug, seeds_dir=seeds) as call:
        from crm_migrate import settings
        from crm_migrate.cli import render

        loaded = settings.load(config, dsn=dsn, seeds_dir=seeds)
        entries = settings.describe(loaded)
        if json:
            call.document({"settings": entries})
        else:
            render.config(entries)


@app.command()
def demo(
    contacts: Annotated[int, typer.Option("--contacts", min=20, help="Size of the CRM.")] = 5000,
    generation: Annotated[str, typer.Option("--generation", help="2025 or 2026.")] = "2026",
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Folder that keeps the server and the reports.", show_default=False)
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Then serve its web pages on a free port until Ctrl-C.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Migrate a realistic CRM on an embedded PostgreSQL, and show what changed.

    Example: crm-migrate demo --generation 2025
    """
    with invocation("demo", json=json, debug=debug) as call:
        from crm_migrate.cli import render
        from crm_migrate.cli.progress import Watch
        from crm_migrate.steps import demo as step

        def finish(settings: Settings, result: step.DemoReport) -> None:
            call.finish(result, render.demo)
            if serve:
                from crm_migrate.cli.serving import tell
                from crm_migrate.web import server

                # one document is printed, and it was printed
                server.serve(settings, host="127.0.0.1", port=0, ready=lambda address: tell(call, address, json=False))

        step.run(
            contacts=contacts,
            generation=generation,
            folder=keep,
            watch=lambda settings: Watch(settings, quiet=json),
            then=finish,
        )
