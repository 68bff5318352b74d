"""The command that tells one record's story: explain."""

from __future__ import annotations

from typing import Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, Debug, Dsn, Json, Seeds


@app.command(context_settings={"ignore_unknown_options": True})
def explain(
    entity: Annotated[
        str, typer.Argument(help="deals, contacts, companies, notes, tasks, opportunities, activities …")
    ],
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id; of a note also deal_note:12.")],
    dsn: Dsn = None,
    config: Config = None,
    seeds: Seeds = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell one record's story: what it was, which rules applied, what it became, who refers to it. Writes nothing.

    Example: crm-migrate explain deals 42
    """
    with invocation("explain", dsn=dsn, config=config, json=json, debug=debug, seeds_dir=seeds) as call:
        from crm_migrate import story
        from crm_migrate.cli import render_story

        with call.connection() as connection:
            call.finish(story.tell(connection, call.settings, entity, key), render_story.story)
