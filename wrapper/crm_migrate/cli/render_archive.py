"""What the commands of the archive say on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from crm_migrate.cli.render import size, table

if TYPE_CHECKING:
    from crm_migrate.steps.archive import ArchiveReport, ExportReport, PurgeReport


def status(console: Console, report: ArchiveReport) -> None:
    """Each table and whether it is what was sealed."""
    console.print(Text(f"Archive of run {report.run_id}: {report.state}", style="bold"))
    if report.tables:
        shown = table("table", ">rows", ">size", "")
        for item in report.tables:
            mark = Text("ok", "green") if item.ok else Text(item.problem, "bold red")
            shown.add_row(Text(item.name), f"{item.rows:,}", size(item.bytes), mark)
        console.print(shown)
    if report.purged_at is not None:
        console.print(f"Purged at {report.purged_at:%Y-%m-%d %H:%M} UTC")
        return
    if not report.here:
        console.print("This database is a copy of the one in which the archive was made: it cannot be purged here.")
    if report.archive_until is not None and report.days_left is not None:
        left = f"{report.days_left:.1f} days left" if report.days_left > 0 else "that time is over"
        console.print(f"Kept until {report.archive_until:%Y-%m-%d %H:%M} UTC: {left}")
    console.print(f"Next: {report.next_command}")


def export(console: Console, report: ExportReport) -> None:
    """Where the files are."""
    shown = table("table", ">rows", ">size")
    for item in report.tables:
        shown.add_row(Text(item.table), f"{item.rows:,}", size(item.bytes))
    console.print(shown)
    console.print(Text(f"{report.path}  {size(report.bytes)}, read back and equal"), soft_wrap=True)


def purge(console: Console, report: PurgeReport) -> None:
    """What is gone, and what is not."""
    console.print(
        Text(
            f"The archive of run {report.apply_run_id} is purged: {report.tables} tables, {report.rows:,} rows.", "bold"
        )
    )
    console.print("The CRM was not touched. Backups and exports are files of your own: delete them when you may.")
