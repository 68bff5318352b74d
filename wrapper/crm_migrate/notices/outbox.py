"""The outbox: what is to be sent to whom, at most once per person, event and plan or run; and the sending of it."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage

import psycopg

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.notices.mail import MailServer, MailServerDown, MailServerFails, Refused
from crm_migrate.notices.recipients import Person
from crm_migrate.settings import Settings

EVENTS = (
    "day-before",
    "moved",
    "final-warning",
    "started",
    "delayed",
    "called-off",
    "completed",
    "rolled-back",
    "compat-ending",
)
# these speak to those who look after other programs
FOR_ADMINISTRATORS = frozenset({"compat-ending"})
_BROKEN_IN_A_ROW = 3


@dataclass(frozen=True)
class Due:
    """Something to tell, and what it is about."""

    event: str
    subject: str


@dataclass(frozen=True)
class Notice:
    """One person's notice, taken to be sent."""

    notice_id: int
    event: str
    subject: str
    recipient: str
    name: str
    message_id: str
    attempts: int


@dataclass
class Delivery:
    """What became of the notices of one delivery."""

    sent: int = 0
    retried: int = 0
    failed: list[str] = field(default_factory=list)
    """`event: why`, without addresses."""
    server_problem: str = ""
    pending: int = 0


def installed(connection: Connection) -> bool:
    """Whether there is an outbox."""
    return database.exists(connection, "crm_migration.notices")


def due(connection: Connection, settings: Settings) -> list[Due]:
    """What has to be told now, by the server's clock."""
    late = timedelta(minutes=settings.notice_late_minutes)
    found = connection.execute(
        "select event, subject from crm_migration.due_notices(clock_timestamp(), %s) where subject is not null", [late]
    )
    return [Due(*row) for row in found]


def queue(connection: Connection, found: Due, people: Sequence[Person], domain: str, *, by_hand: bool = False) -> int:
    """Write a notice for each person who has none yet; returns how many. Two at once write each of them once.

    Args:
        domain: of the Message-ID, which stays the same however often a notice is sent.
        by_hand: it goes out although it is not due, and what was given up is tried again.
    """
    keys = [person.key for person in people]
    if by_hand:
        connection.execute(
            "update crm_migration.notices set state = 'pending', by_hand = true, attempts = 0,"
            " next_attempt_at = clock_timestamp(), queued_at = clock_timestamp()"
            " where event = %s and subject = %s and person = any(%s) and state in ('failed', 'expired')",
            [found.event, found.subject, keys],
        )
    return connection.execute(
        """
        insert into crm_migration.notices (event, subject, person, recipient, name, message_id, by_hand)
        select %s, %s, person, recipient, name, message_id, %s
        from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) as told (person, recipient, name, message_id)
        on conflict (event, subject, person) do nothing
        """,
        [
            found.event,
            found.subject,
            by_hand,
            keys,
            [person.address for person in people],
            [person.name for person in people],
            [message_id(found, person, domain) for person in people],
        ],
    ).rowcount


def message_id(found: Due, person: Person, domain: str) -> str:
    """The Message-ID of a person's notice: a mail that was accepted twice can be recognised by it."""
    hashed = hashlib.sha256("\0".join((found.event, found.subject, person.key)).encode()).hexdigest()
    return f"<crm-migrate.{hashed[:32]}@{domain}>"


def expire(connection: Connection, still_due: Sequence[Due]) -> int:
    """Give up what would come too late: nobody needs a final warning when the maintenance is over."""
    return connection.execute(
        """
        update crm_migration.notices
        set state = 'expired'
        where state = 'pending'
            and (event, subject) not in (select * from unnest(%s::text[], %s::text[]))
            and not (by_hand and queued_at > clock_timestamp() - interval '24 hours')
        """,
        [[item.event for item in still_due], [item.subject for item in still_due]],
    ).rowcount


def deliver(
    connection: Connection, settings: Settings, server: MailServer, compose: Callable[[Notice], EmailMessage]
) -> Delivery:
    """Send what is pending and whose time has come, each in a few short transactions, for `notice_seconds` at most.

    A mail that was handed over is marked at once. When this process dies between the two it is sent again, with the
    same Message-ID.
    """
    result = Delivery()
    until = time.monotonic() + settings.notice_seconds
    broken = 0
    tried: list[int] = []
    while time.monotonic() < until and broken < _BROKEN_IN_A_ROW:
        with _claimed(connection, tried) as notice:
            if notice is None:
                break
            tried.append(notice.notice_id)
            try:
                server.send(compose(notice), notice.recipient)
            except MailServerDown as error:
                # nothing about this notice; it stays as long as it is due, however long the server is down
                _postpone(connection, notice, str(error))
                result.retried += 1
                result.server_problem = str(error)
                break
            except MailServerFails as error:
                broken += 1
                result.server_problem = str(error)
                _give_back(connection, settings, notice, str(error), result, permanent=False)
            except Refused as error:
                broken = 0
                _give_back(connection, settings, notice, str(error), result, permanent=error.permanent)
            else:
                broken = 0
                result.sent += 1
                _mark_sent(connection, notice)
    result.pending = int(
        database.scalar(connection, "select count(*) from crm_migration.notices where state = 'pending'")
    )
    return result


@contextmanager
def _claimed(connection: Connection, tried: Sequence[int]) -> Iterator[Notice | None]:
    found = database.rows(connection, "select * from crm_migration.claim_notice(%s)", [list(tried)])
    if not found:
        yield None
        return
    row = found[0]
    try:
        yield Notice(**{name: row[name] for name in Notice.__dataclass_fields__})
    finally:
        with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
            connection.execute(
                "select pg_advisory_unlock(hashtext('crm-migrate notice'), %s::integer)", [row["notice_id"]]
            )


def _mark_sent(connection: Connection, notice: Notice) -> None:
    connection.execute(
        "update crm_migration.notices set state = 'sent', sent_at = clock_timestamp(), last_error = null"
        " where notice_id = %s",
        [notice.notice_id],
    )


def _postpone(connection: Connection, notice: Notice, why: str) -> None:
    connection.execute(
        "update crm_migration.notices set last_error = %s, attempts = attempts - 1,"
        " next_attempt_at = clock_timestamp() + interval '1 minute' where notice_id = %s",
        [why, notice.notice_id],
    )


def _give_back(
    connection: Connection, settings: Settings, notice: Notice, why: str, result: Delivery, *, permanent: bool
) -> None:
    given_up = permanent or notice.attempts >= settings.notice_attempts
    connection.execute(
        "update crm_migration.notices set last_error = %s, state = %s where notice_id = %s",
        [why, "failed" if given_up else "pending", notice.notice_id],
    )
    if given_up:
        result.failed.append(f"{notice.event}: {why}")
    else:
        result.retried += 1
