"""The program `crm-migrate`. Commands parse, call one function, render its result."""

from __future__ import annotations

import signal
import sys
from types import FrameType

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


def main() -> None:
    """Entry point of the program."""
    from crm_migrate.cli import checking, housekeeping, migrating  # noqa: F401  # they register their commands

    # a service manager's stop is treated like Ctrl-C: the run ends cleanly and can go on
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
