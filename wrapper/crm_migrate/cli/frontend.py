"""The command for the front-end team: kit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, Debug, Dsn, Json


@app.command()
def kit(
    dsn: Dsn = None,
    config: Config = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path("kit"),
    opportunities: Annotated[
        int, typer.Option("--opportunities", min=0, max=10_000, help="How many the fixtures hold.")
    ] = 25,
    real_data: Annotated[
        bool, typer.Option("--real-data", help="Fixtures with people's names and texts as they are.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write what the front end needs: types, redirects, resources, labels, fixtures. Changes nothing of the CRM.

    Example: crm-migrate kit --out kit
    """
    with invocation("kit", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate.cli import render_kit
        from crm_migrate.kit import files
        from crm_migrate.kit.fixtures import Part

        with call.connection() as connection:
            call.finish(
                files.write(connection, call.settings, out, Part(opportunities, real_data)),
                render_kit.kit,
            )
