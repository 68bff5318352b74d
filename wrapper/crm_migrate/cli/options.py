"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dsn = Annotated[
    str | None,
    typer.Option("--dsn", help="Connection string; else DATABASE_URL, else libpq's own variables.", show_default=False),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; else crm-migrate.toml.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write a report as one HTML file.", show_default=False)]
Seeds = Annotated[Path | None, typer.Option("--seeds", help="Folder of the mapping CSVs.", show_default=False)]
ConfirmDatabase = Annotated[
    str | None,
    typer.Option("--confirm-database", help="Name of the database, instead of typing it.", show_default=False),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; recorded with the run.", show_default=False)]
