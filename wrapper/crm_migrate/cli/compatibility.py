"""Commands about the old names: compat status, drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, ConfirmDatabase, Debug, Dsn, Json, Reason

if TYPE_CHECKING:
    from rich.console import Console

    from crm_migrate.steps.compat import CompatDropReport, CompatReport

compat = typer.Typer(
    help="The old names, through which an unchanged application works for a month.", no_args_is_help=True
)
app.add_typer(compat, name="compat")

_SHOWN = 30


@compat.command("status")
def compat_status(dsn: Dsn = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Show who still uses the old names, by role and day, and until when they stay. Writes nothing.

    Example: crm-migrate compat status
    """
    with invocation("compat status", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate.steps import compat as step

        with call.connection() as connection:
            call.finish(step.status(connection, call.settings), _show_status)


@compat.command("drop")
def compat_drop(
    although_in_use: Annotated[
        bool, typer.Option("--although-in-use", help="Even when somebody still needs them; needs --reason.")
    ] = False,
    reason: Reason = None,
    confirm_database: ConfirmDatabase = None,
    dsn: Dsn = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take the old names away. What keeps the new tables in step with each other stays.

    Example: crm-migrate compat drop --confirm-database crm
    """
    with invocation("compat drop", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.errors import UsageError
        from crm_migrate.steps import compat as step

        if although_in_use and not (reason or "").strip():
            raise UsageError("What is in use is dropped with a reason only.", next="--reason TEXT")
        log.open_log(call.settings, "compat drop")
        with call.connection() as connection:
            call.confirm_database(connection, confirm_database)
            found = step.drop(connection, call.settings, although=reason if although_in_use else None)
        call.finish(found, _show_drop)


def _show_status(console: Console, report: CompatReport) -> None:
    from rich.text import Text

    from crm_migrate.cli.render import table

    for item in report.views:
        if item.present:
            state = f"until {item.until:%Y-%m-%d} ({report.days_left} days left)"
        elif item.dropped_at is not None:
            state = f"dropped on {item.dropped_at:%Y-%m-%d} by {item.dropped_by}"
        else:
            state = "not there, and nobody recorded why"
        console.print(Text(f"{item.relation} instead of {item.successor}: {state}"))
    if report.expired and any(item.present for item in report.views):
        console.print(Text("The month is over.", style="yellow"))
    if report.usage:
        shown = table("day", "role", "old name", "", ">writes")
        for usage in report.usage[:_SHOWN]:
            shown.add_row(
                f"{usage.day:%Y-%m-%d}", Text(usage.role), Text(usage.relation), usage.operation, f"{usage.writes:,}"
            )
        console.print(shown)
    else:
        console.print("Nobody has written through them.")
    console.print(Text(report.reads.why))
    for read in report.reads.by_role:
        console.print(Text(f"  {read.role} read {read.relation} {read.calls:,} times"))
    for name in report.functions:
        console.print(Text(f"  the function {name} names them"))
    if report.in_use:
        console.print("Next: change the programs that use them")
    elif any(item.present for item in report.views):
        console.print("Next: crm-migrate compat drop")


def _show_drop(console: Console, report: CompatDropReport) -> None:
    from rich.text import Text

    for name in report.dropped:
        console.print(Text(f"{name} is gone."))
    for name in report.hidden:
        console.print(Text(f"{name} is read by other views: it is crm_compat.{name} now, for them alone."))
    if not report.dropped and not report.hidden:
        console.print("The old names were gone already.")
    for reason in report.although:
        console.print(Text(f"  although {reason}", style="yellow"))
