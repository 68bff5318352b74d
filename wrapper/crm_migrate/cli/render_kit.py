"""The kit on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from crm_migrate.cli.render import size, table
from crm_migrate.kit.files import KitReport


def kit(console: Console, report: KitReport) -> None:
    """The files, and which redirects they hold."""
    shown = table("file", ">size")
    for name, count in report.files.items():
        shown.add_row(name, size(count))
    console.print(shown)
    console.print(Text(f"Redirects {report.redirect_status}. {report.sentence}"))
    if not report.masked:
        console.print(Text("fixtures/subset.json holds people's data: keep it out of repositories.", style="yellow"))
    console.print(Text(str(report.folder)), soft_wrap=True)
