"""The program `crm-migrate`. Commands parse, call one function, render its result."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import cast

import typer

app = typer.Typer(
    name="crm-migrate",
    help="Moves a live Atomic CRM from deals to opportunities, principals and distributors. And back.",
    epilog="Exit codes: 0 done or GO · 1 unexpected · 2 usage · 3 NO-GO · 4 wrong state or locked"
    " · 5 verification failed · 6 window closed · 7 stopped, resumable · 130 interrupted, resumable",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _with_documents() -> None:
    """For scripts: a flag that cannot be understood is a document like any other failure."""
    from crm_migrate.cli.invocation import usage_document

    # a usage error of click, of which typer may bring a copy of its own
    usage_error = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except usage_error as error:
        usage_document(error.format_message(), sys.argv[1:])
        sys.exit(2)


def main() -> None:
    """Entry point of the program."""
    # they register their commands
    from crm_migrate.cli import (  # noqa: F401
        announcing,
        archiving,
        checking,
        compatibility,
        explaining,
        frontend,
        housekeeping,
        migrating,
        sampling,
        serving,
    )

    # whatever the program and its children write is about people's customers: for its owner only
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal or a log that knows few letters shows the others as numbers
            stream.reconfigure(errors="backslashreplace")
    # a service manager's stop is treated like Ctrl-C: the run ends cleanly and can go on
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if "--json" in sys.argv:
            _with_documents()
        else:
            app()
    except KeyboardInterrupt:
        sys.exit(130)
