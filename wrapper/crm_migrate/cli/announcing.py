"""Commands that tell people: announce plan, due, send, preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crm_migrate.cli import app
from crm_migrate.cli.invocation import invocation
from crm_migrate.cli.options import Config, Debug, Dsn, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from crm_migrate.notices.recipients import Unreachable
    from crm_migrate.steps.announce import DeliveryReport, PlanReport, PreviewReport

announce = typer.Typer(help="Tell everybody: the planned window, the start, the end, a way back.", no_args_is_help=True)
app.add_typer(announce, name="announce")

Event = Annotated[
    str,
    typer.Argument(
        help="day-before, moved, final-warning, started, delayed, called-off, completed, rolled-back or compat-ending."
    ),
]


@announce.command("plan")
def announce_plan(
    at: Annotated[
        str | None,
        typer.Option("--at", help='The start, UTC unless it says its zone: "2026-11-28 22:00".', show_default=False),
    ] = None,
    duration: Annotated[
        int | None,
        typer.Option("--duration", help="Minutes; else the newest passed dry run's estimate.", show_default=False),
    ] = None,
    call_off: Annotated[bool, typer.Option("--call-off", help="Take the plan back.")] = False,
    dsn: Dsn = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Plan the maintenance window, or move it. Sends nothing: that is done by `announce due`.

    Example: crm-migrate announce plan --at "2026-11-28 22:00" --duration 90
    """
    with invocation("announce plan", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.errors import UsageError
        from crm_migrate.steps import announce as step

        if (at is None) is not call_off:
            raise UsageError("Either a start or --call-off is needed.", next='--at "2026-11-28 22:00"')
        log.open_log(call.settings, "announce plan")
        with call.connection() as connection:
            if at is None:
                call.finish(step.call_off(connection, call.settings), _show_plan)
            else:
                call.finish(step.plan(connection, call.settings, at, duration), _show_plan)


@announce.command("due")
def announce_due(dsn: Dsn = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Send what is due by the plan and by the runs, each person once. Made for cron: every minute, anywhere.

    Example: crm-migrate announce due
    """
    with invocation("announce due", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.steps import announce as step

        with call.connection() as connection:
            report = step.due(connection, call.settings)
        # a minute in which there was nothing to do leaves no line in the log
        if any(report.queued.values()) or report.sent or report.retried or report.failed:
            log.open_log(call.settings, "announce due")
            log.event("notices", **report.as_json())
        call.finish(report, _show_delivery)


@announce.command("send")
def announce_send(
    event: Event,
    to: Annotated[
        str | None, typer.Option("--to", help="Only to this address, marked as a test.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dsn: Dsn = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Send one notice now, although it is not due, to those who do not have it yet; or to try it out.

    Example: crm-migrate announce send completed --to ann@example.com
    """
    with invocation("announce send", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate import log
        from crm_migrate.steps import announce as step

        log.open_log(call.settings, "announce send")
        with call.connection() as connection:
            if to is not None:
                call.finish(step.send_test(connection, call.settings, event, to), _show_delivery)
            else:
                call.agree(f"This writes to everybody in {connection.info.dbname}. Go on?", yes)
                report = step.send(connection, call.settings, event)
                log.event("notices", **report.as_json())
                call.finish(report, _show_delivery)


@announce.command("preview")
def announce_preview(
    event: Event,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for EVENT.txt, EVENT.html and EVENT.eml.", show_default=False)
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Print the HTML instead of the text.")] = False,
    dsn: Dsn = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a notice as it would be sent. Sends nothing.

    Example: crm-migrate announce preview completed --out previews
    """
    with invocation("announce preview", dsn=dsn, config=config, json=json, debug=debug) as call:
        from crm_migrate.cli.terminal import stderr
        from crm_migrate.steps import announce as step

        with call.connection() as connection:
            report = step.preview(connection, call.settings, event, out)
        if report.example:
            stderr().print("Nothing of the kind is planned or has happened: these facts are made up.")
        call.finish(report, _show_html if html else _show_text)


def _show_plan(console: Console, report: PlanReport) -> None:
    from rich.text import Text

    window = f"{report.starts_at:%Y-%m-%d %H:%M} to {report.ends_at:%Y-%m-%d %H:%M} UTC"
    console.print(Text(f"{'Planned' if report.in_force else 'Called off'}: {window} ({report.minutes} minutes)"))
    console.print(f"People who can be told: {report.recipients:,}")
    _show_unreachable(console, report.unreachable)
    if not report.mail_is_set:
        console.print("No mail is sent yet: set smtp_host and mail_from")
    console.print("Next: crm-migrate announce due, every minute by cron")


def _show_delivery(console: Console, report: DeliveryReport) -> None:
    from rich.text import Text

    queued = ", ".join(f"{event} {count:,}" for event, count in report.queued.items() if count)
    if not (queued or report.sent or report.retried or report.failed or report.expired or report.server_problem):
        # cron would mail it to somebody every minute
        if console.is_terminal:
            console.print("Nobody has to be told anything now.")
        return
    console.print(Text(f"New: {queued or 'nothing'}"))
    console.print(f"Sent {report.sent:,}, to be tried again {report.retried:,}, waiting {report.pending:,}")
    if report.expired:
        console.print(f"Given up because it is too late for them: {report.expired:,}")
    for failure in report.failed:
        console.print(Text(f"Refused for good: {failure}", style="red"))
    if report.server_problem:
        console.print(Text(f"Mail server: {report.server_problem}", style="red"))
        console.print("Next: the same command goes on, when the mail server answers")
    _show_unreachable(console, report.unreachable)


def _show_unreachable(console: Console, found: Sequence[Unreachable]) -> None:
    for person in found:
        console.print(f"  sales {person.sales_id} cannot be told: {person.why}")


def _show_text(console: Console, report: PreviewReport) -> None:
    if report.files:
        for file in report.files:
            typer.echo(str(file))
    else:
        typer.echo(f"Subject: {report.letter.subject}\n\n{report.letter.text}", nl=False)


def _show_html(console: Console, report: PreviewReport) -> None:
    typer.echo(report.letter.html, nl=False)
