"""The command that migrates a part of the CRM aside: sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, Debug, Dsn, Json, Seeds


@app.command()
def sample(
    dsn: Dsn = None,
    config: Config = None,
    seeds: Seeds = None,
    percent: Annotated[
        float, typer.Option("--percent", help="Share of the companies; what is theirs comes along.")
    ] = 5.0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed takes the same rows.")] = 1,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Folder that keeps the server with the sample.", show_default=False)
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Migrate a part of the CRM in a private PostgreSQL, to try mappings in seconds. The CRM is only read.

    Your own columns come along; your own tables, views, policies, triggers, functions and constraints do not:
    dry-run tries those.

    Example: crm-migrate sample --percent 5 --seeds my-seeds
    """
    with invocation("sample", dsn=dsn, config=config, json=json, debug=debug, seeds_dir=seeds) as call:
        from crm_migrate.cli import render_sample
        from crm_migrate.cli.progress import Watch
        from crm_migrate.steps import sample as step

        with call.connection() as connection:
            result = step.run(
                connection,
                call.settings,
                percent=percent,
                seed=seed,
                keep=keep,
                watch=lambda settings: Watch(settings, quiet=json),
            )
        call.finish(result, render_sample.sample)
