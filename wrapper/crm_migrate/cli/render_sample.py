"""A sample on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from crm_migrate.cli.render import dry_run, duration, stages_table, table
from crm_migrate.steps.sample import SampleReport


def sample(console: Console, report: SampleReport) -> None:
    """What was taken and what became of it."""
    console.print(f"A sample of {report.percent:g} % of the companies with what is theirs (seed {report.seed})")
    shown = table("legacy table", ">taken", ">of")
    for name, taken in report.taken.items():
        shown.add_row(name, f"{taken.rows:,}", f"{taken.of:,}")
    console.print(shown)
    dry_run(
        console, report.dry_run, next_command="change a mapping and sample again; crm-migrate dry-run tries the whole"
    )
    console.print(stages_table(report.dry_run.stages))
    *others, last = report.left_out
    console.print(
        f"Left out: {', '.join(others)} and {last} that this installation made itself."
        " crm-migrate dry-run says whether they can be carried"
    )
    console.print(f"{'Migrated' if report.migrated else 'Tried'}, {duration(report.seconds)} in all")
    if report.kept:
        console.print(Text(f"The server is kept in {report.kept}"), soft_wrap=True)
