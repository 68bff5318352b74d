"""What people are told: plan the window, tell what is due, tell something by name, look at it before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from crm_migrate import control, database, ledger
from crm_migrate.database import Connection
from crm_migrate.errors import Exit, UsageError, WrongState
from crm_migrate.notices import facts, letters, mail, outbox, recipients, schedule
from crm_migrate.notices.letters import Letter, Letters
from crm_migrate.notices.mail import MailServer
from crm_migrate.notices.outbox import Due, Notice
from crm_migrate.notices.recipients import Unreachable
from crm_migrate.notices.schedule import Window
from crm_migrate.reports import plain
from crm_migrate.settings import Settings

_DEFAULT_MINUTES = 60
_ROUNDED_TO = 15
TEST_MARK = "[Test] "


@dataclass(frozen=True)
class PlanReport:
    """The plan, and who can be told of it."""

    plan_id: str
    starts_at: datetime
    ends_at: datetime
    minutes: int
    in_force: bool
    recipients: int
    unreachable: list[Unreachable]
    mail_is_set: bool

    run_id = None
    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return dict(plain(self))


@dataclass(frozen=True)
class DeliveryReport:
    """What was written into the outbox and what left it."""

    queued: Mapping[str, int]
    sent: int
    retried: int
    failed: list[str]
    expired: int
    pending: int
    unreachable: list[Unreachable]
    server_problem: str

    run_id = None

    @property
    def exit_code(self) -> Exit:
        """7 when notices wait for another attempt: the same command goes on."""
        return Exit.RESUMABLE if self.retried or self.server_problem else Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return dict(plain(self))


@dataclass(frozen=True)
class PreviewReport:
    """A notice as it would be sent."""

    event: str
    example: bool
    """Nothing of the kind is planned or has happened, so it shows made-up facts."""
    letter: Letter
    files: list[Path]

    run_id = None
    exit_code = Exit.OK

    def as_json(self) -> dict[str, Any]:
        """The keys of the JSON document."""
        return dict(plain(self))


def plan(connection: Connection, settings: Settings, at: str, minutes: int | None) -> PlanReport:
    """Plan the maintenance, or move it.

    Args:
        at: the start, in UTC unless it says its zone.
        minutes: how long it takes; None takes the estimate of the newest passed dry run.

    Raises:
        UsageError: no moment, or one that is over.
        WrongState: this is no CRM.
    """
    start = schedule.parse(at)
    _require_sales(connection)
    facts.clock(settings)
    _install(connection, settings)
    return _plan_report(connection, settings, schedule.plan(connection, start, minutes or _estimated(connection)), True)


def call_off(connection: Connection, settings: Settings) -> PlanReport:
    """Take the plan back; who was told of it is told of that by `due`.

    Raises:
        WrongState: nothing is planned.
    """
    _require_sales(connection)
    _install(connection, settings)
    return _plan_report(connection, settings, schedule.call_off(connection), False)


def due(connection: Connection, settings: Settings) -> DeliveryReport:
    """Tell everybody what they have to be told now. Any number of these at once tell it once.

    Raises:
        ConfigurationError: no mail server, no sender, an unknown time zone.
    """
    with MailServer(settings) as server:
        compose = _composer(connection, settings)
        if not outbox.installed(connection):
            return DeliveryReport({}, 0, 0, [], 0, 0, [], "")
        found = outbox.due(connection, settings)
        queued: dict[str, int] = {}
        unreachable: list[Unreachable] = []
        for item in found:
            people, without = _people(connection, item.event)
            count = outbox.queue(connection, item, people, server.sender.domain)
            if count:
                queued[item.event] = queued.get(item.event, 0) + count
                unreachable = without or unreachable
        return _deliver(connection, settings, server, compose, queued, unreachable, outbox.expire(connection, found))


def send(connection: Connection, settings: Settings, event: str) -> DeliveryReport:
    """Tell everybody of an event although it is not due; who was told already is not told again.

    Raises:
        UsageError: no such event.
        WrongState: there is no plan or run that it could speak of.
        ConfigurationError: no mail server, no sender, an unknown time zone.
    """
    with MailServer(settings) as server:
        compose = _composer(connection, settings)
        item = _subject(connection, event)
        _install(connection, settings)
        people, unreachable = _people(connection, event)
        count = outbox.queue(connection, item, people, server.sender.domain, by_hand=True)
        return _deliver(connection, settings, server, compose, {event: count}, unreachable, 0)


def send_test(connection: Connection, settings: Settings, event: str, address: str) -> DeliveryReport:
    """Send an event's notice to one address, marked as a test. The outbox knows nothing of it.

    Raises:
        UsageError: no such event, or no address.
        ConfigurationError: no mail server, no sender, an unknown time zone.
        MailServerProblem: it did not take the mail.
    """
    try:
        recipient = recipients.clean_address(address)
    except ValueError as error:
        raise UsageError(f"{address!r}: {error}.", next="--to ann@example.com") from None
    _known(event)
    with MailServer(settings) as server:
        letter, _ = _letter(connection, settings, event)
        marked = Letter(TEST_MARK + letter.subject, letter.text, letter.html)
        made_for = recipients.Person(recipient, "")
        message_id = outbox.message_id(
            Due(event, f"test {schedule.server_clock(connection).isoformat()}"), made_for, server.sender.domain
        )
        message = _message(connection, settings, marked, recipient, "", message_id)
        try:
            server.send(message, recipient)
        except (mail.MailServerFails, mail.Refused) as error:
            raise MailServerProblem("The test mail was not taken.", why=f"{error}", next="crm-migrate config") from None
    return DeliveryReport({event: 0}, 1, 0, [], 0, 0, [], "")


class MailServerProblem(WrongState):
    """The mail server did not take a mail that was sent to look at it."""

    code = "CRM-402"


def preview(connection: Connection, settings: Settings, event: str, folder: Path | None) -> PreviewReport:
    """Write a notice out without sending it.

    Args:
        folder: for EVENT.txt, EVENT.html and EVENT.eml; None writes no file.

    Raises:
        UsageError: no such event, or a folder that cannot be written.
    """
    _known(event)
    letter, is_example = _letter(connection, settings, event)
    files: list[Path] = []
    if folder is not None:
        whole = _message(connection, settings, letter, "ann@example.com", "Ann Example", "<preview@example.com>")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for suffix, content in (
                ("txt", letter.text.encode()),
                ("html", letter.html.encode()),
                ("eml", whole.as_bytes()),
            ):
                file = folder.absolute() / f"{event}.{suffix}"
                with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
                    target.write(content)
                files.append(file)
        except OSError as error:
            raise UsageError(
                f"The folder {folder} cannot be written.", why=error.strerror or "", next="--out FOLDER"
            ) from None
    return PreviewReport(event, is_example, letter, files)


def _letter(connection: Connection, settings: Settings, event: str) -> tuple[Letter, bool]:
    try:
        found = facts.gather(connection, settings, _subject(connection, event))
        is_example = False
    except WrongState:
        found, is_example = facts.example(settings), True
    return Letters(settings).write(event, found, "Ann Example"), is_example


def _composer(connection: Connection, settings: Settings) -> Callable[[Notice], EmailMessage]:
    writer = Letters(settings)
    facts.clock(settings)
    mail.reply_to(settings)
    known: dict[Due, dict[str, Any]] = {}

    def compose(notice: Notice) -> EmailMessage:
        item = Due(notice.event, notice.subject)
        if item not in known:
            known[item] = facts.gather(connection, settings, item)
        letter = writer.write(notice.event, known[item], notice.name)
        return _message(connection, settings, letter, notice.recipient, notice.name, notice.message_id)

    return compose


def _message(
    connection: Connection, settings: Settings, letter: Letter, recipient: str, name: str, message_id: str
) -> EmailMessage:
    return letters.message(
        letter,
        sender=mail.sender(settings),
        reply_to=mail.reply_to(settings),
        recipient=recipient,
        name=name,
        message_id=message_id,
        at=schedule.server_clock(connection),
    )


def _deliver(
    connection: Connection,
    settings: Settings,
    server: MailServer,
    compose: Callable[[Notice], EmailMessage],
    queued: Mapping[str, int],
    unreachable: list[Unreachable],
    expired: int,
) -> DeliveryReport:
    made = outbox.deliver(connection, settings, server, compose)
    return DeliveryReport(
        queued, made.sent, made.retried, made.failed, expired, made.pending, unreachable, made.server_problem
    )


def _subject(connection: Connection, event: str) -> Due:
    _known(event)
    window = schedule.current(connection)
    run = ledger.latest(connection, "apply")
    rolled_back = ledger.latest(connection, "rollback", states=("completed",))
    if event in ("day-before", "moved", "final-warning") and window is not None:
        return Due(event, window.plan_id)
    if event == "delayed" and (window is not None or run is not None):
        late = run is not None and run.state in ("running", "stopped")
        if late or window is not None:
            return Due(event, run.run_id if late and run is not None else window.plan_id if window else "")
    if event == "called-off":
        if run is not None and run.state == "failed" and run.cutover_at is None:
            return Due(event, run.run_id)
        plan_id = database.exists(connection, "crm_migration.schedule") and database.scalar(
            connection, "select plan_id from crm_migration.schedule where called_off order by ended_at desc limit 1"
        )
        if plan_id:
            return Due(event, plan_id)
    if event == "started" and run is not None and run.state in ("running", "stopped") and run.locked_at is not None:
        return Due(event, run.run_id)
    if event in ("completed", "compat-ending") and run is not None and run.state == "completed":
        return Due(event, run.run_id)
    if event == "rolled-back" and rolled_back is not None:
        return Due(event, rolled_back.run_id)
    raise WrongState(
        f"There is nothing that the notice {event} could speak of.",
        why="It tells of a plan or of a run, and there is none in that state.",
        next=f"crm-migrate announce preview {event}, or crm-migrate announce plan",
    )


def _known(event: str) -> None:
    if event not in outbox.EVENTS:
        raise UsageError(f"There is no notice {event!r}.", next=f"One of: {', '.join(outbox.EVENTS)}")


def _people(connection: Connection, event: str) -> tuple[list[recipients.Person], list[Unreachable]]:
    return recipients.read(connection, administrators=event in outbox.FOR_ADMINISTRATORS)


def _plan_report(connection: Connection, settings: Settings, window: Window, in_force: bool) -> PlanReport:
    people, unreachable = _people(connection, "day-before")
    return PlanReport(
        window.plan_id,
        window.starts_at,
        window.ends_at,
        window.minutes,
        in_force,
        len(people),
        unreachable,
        bool(settings.smtp_host and settings.mail_from),
    )


def _estimated(connection: Connection) -> int:
    """Minutes of the newest passed dry run's estimate with its buffer, rounded up to a quarter of an hour."""
    tried = ledger.latest(connection, "dry-run", states=("passed",))
    estimate = (tried.summary.get("estimate") or {}) if tried else {}
    seconds = estimate.get("downtime_seconds_with_buffer")
    if not seconds:
        return _DEFAULT_MINUTES
    return max(1, -(-int(seconds) // (60 * _ROUNDED_TO))) * _ROUNDED_TO


def _install(connection: Connection, settings: Settings) -> None:
    """Only where something is missing: installing would wait for a run that is at work."""
    if not (outbox.installed(connection) and database.exists(connection, "crm_migration.schedule")):
        control.install(connection, settings)


def _require_sales(connection: Connection) -> None:
    if not database.exists(connection, "public.sales"):
        raise WrongState("This database holds no CRM: there is no table sales.", next="crm-migrate doctor")
