"""Sending: once per person, whatever the mail server does."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import control, oracles
from crm_migrate import database as db
from crm_migrate.errors import ConfigurationError, Exit, UsageError
from crm_migrate.legacy import LegacySchema
from crm_migrate.notices import schedule
from crm_migrate.oracles.notices import NOTICES
from crm_migrate.settings import Settings
from crm_migrate.steps import announce
from crm_migrate.steps.announce import DeliveryReport
from mail_server import Mailbox, mail_server, make_certificate
from notices.conftest import add_user
from people import value

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

ANN, BOB = "ann@example.com", "bob@example.com"


def plan(connection: Connection, **before: int) -> None:
    schedule.plan(connection, schedule.server_clock(connection) + timedelta(**before), 90)


def due(settings: Settings) -> DeliveryReport:
    with db.connect(settings) as connection:
        return announce.due(connection, settings)


def try_again(connection: Connection) -> None:
    """The wait before the next attempt is over."""
    connection.execute("update crm_migration.notices set next_attempt_at = clock_timestamp() where state = 'pending'")


def told_once(connection: Connection, settings: Settings) -> bool:
    [found] = oracles.ask(connection, settings, "", LegacySchema.__new__(LegacySchema), asked=[NOTICES])
    assert found.checked_rows > 0
    return found.ok is True


def bodies(mail: EmailMessage) -> tuple[str, str]:
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


def test_enabled_users_are_told_once_by_three_at_the_same_time(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    for number in range(20):
        add_user(users, f"user {number}", "", f"user{number}@example.com")
    add_user(users, "Ann", "again", "ANN@Example.com")
    settings = mailing(users)
    plan(users, hours=20)
    together = threading.Barrier(3)

    def at_once(_: int) -> DeliveryReport:
        together.wait(30)
        return due(settings)

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(at_once, range(3)))
    assert sum(report.queued.get("day-before", 0) for report in reports) == 22
    assert sum(report.sent for report in reports) == 22
    assert sorted(mailbox.recipients) == sorted([ANN, BOB, *(f"user{number}@example.com" for number in range(20))])
    assert told_once(users, settings)
    assert due(settings).sent == 0
    # who is let in later is told as well, as long as it is due
    add_user(users, "Late", "Comer", "late@example.com")
    assert due(settings).queued == {"day-before": 1}
    assert mailbox.recipients[-1] == "late@example.com"


def test_mail_has_text_and_html_and_says_what_it_is(users: Connection, mailing: MakeSettings, mailbox: Mailbox) -> None:
    settings = mailing(
        users,
        mail_reply_to="help@example.com",
        status_url="https://status.example.com/?a=1&b=2",
        notice_timezone="Europe/Zurich",
    )
    schedule.plan(users, schedule.parse("2030-01-05 22:00"), 90)
    with db.connect(settings) as connection:
        assert announce.send(connection, settings, "day-before").sent == 2
    mail = next(mail for mail, to in zip(mailbox.mails, mailbox.recipients, strict=True) if to == ANN)
    assert mail["From"] == "CRM Team <crm@example.com>"
    assert mail["To"] == "Ann Müller <ann@example.com>"
    assert mail["Reply-To"] == "help@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "The CRM is unavailable from 5 January, 23:00 CET"
    assert re.fullmatch(r"<crm-migrate\.[0-9a-f]{32}@example\.com>", mail["Message-ID"])
    assert mail["Date"].datetime.utcoffset() == timedelta(0)
    assert mail.get_content_type() == "multipart/alternative"
    text, html = bodies(mail)
    for body in (text, html):
        assert "Ann Müller" in body
        assert "Saturday 5 January" in body.replace("Saturday 5 January 2030", "Saturday 5 January")
        # in HTML without a break between its parts
        assert "23:00 CET (22:00 UTC)" in body.replace("&nbsp;", " ").replace("\xa0", " ")
        assert "1 hour 30 minutes" in body
    assert "https://status.example.com/?a=1&b=2" in text
    assert 'href="https://status.example.com/?a=1&amp;b=2"' in html
    assert max(map(len, text.splitlines())) <= 76
    # it looks the same where nothing is loaded
    assert not re.search(r"<img|<link|<script|@import|url\(|src=", html)


def test_names_stay_in_their_header_and_in_their_text(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    settings = mailing(users, smtp_timeout=20)
    users.execute("delete from public.sales")
    hostile = {
        "one@example.com": ("Eve\r\nBcc: all@example.com", "<script>alert(1)</script>"),
        "two@example.com": ('"Quote", \\ (x)', "‮desrever"),
        "three@example.com": ("x" * 10_000, ""),
        "four@example.com": ("日本 👩‍💻", "مرحبا"),
        "five@bücher.example": (None, None),
        "jörg@example.com": ("Jörg", "Ö"),
    }
    for address, (first, last) in hostile.items():
        add_user(users, first, last, address)
    plan(users, hours=20)
    report = due(settings)
    assert report.sent == len(hostile), report
    arrived = dict(zip(mailbox.recipients, mailbox.mails, strict=True))
    assert set(arrived) == set(hostile) - {"five@bücher.example"} | {"five@xn--bcher-kva.example"}
    for mail in arrived.values():
        assert mail["Bcc"] is None
        assert len(mail["To"].addresses) == 1
        assert "<script>" not in bodies(mail)[1]
    assert arrived["one@example.com"]["To"].addresses[0].display_name.startswith("Eve Bcc: all@example.com")
    assert arrived["two@example.com"]["To"].addresses[0].display_name == '"Quote", \\ (x) desrever'
    assert len(arrived["three@example.com"]["To"].addresses[0].display_name) == 80
    assert arrived["four@example.com"]["To"].addresses[0].display_name == "日本 👩‍💻 مرحبا"
    assert bodies(arrived["five@xn--bcher-kva.example"])[0].startswith("THE CRM")


@pytest.mark.parametrize(
    "address",
    [
        *(None, "", "  ", "ann", "ann@", "@example.com", "ann@b@c.com", "ann@exa mple.com", "a@b.com, c@d.com"),
        *("ann@.com", "<ann@example.com>", "a" * 250 + "@example.com", "ann@ex\u200bample.com"),
        "ann@example.com\nBcc: x@y.z",
    ],
)
def test_user_who_cannot_be_written_to_is_named_and_nobody_else_waits(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox, address: str | None
) -> None:
    add_user(users, "No", "Address", address)
    plan(users, hours=20)
    report = due(mailing(users))
    assert report.sent == 2
    assert [person.sales_id for person in report.unreachable] == [4]
    assert "address" in report.unreachable[0].why
    assert report.exit_code == Exit.OK


@pytest.mark.fault(number=22)
def test_server_that_is_busy_is_asked_again(users: Connection, mailing: MakeSettings, mailbox: Mailbox) -> None:
    settings = mailing(users)
    plan(users, hours=20)
    mailbox.answers = ["451 4.3.0 come back later", "452 4.2.2 full"]
    report = due(settings)
    assert (report.sent, report.retried, report.exit_code) == (0, 2, Exit.RESUMABLE)
    assert mailbox.mails == []
    assert due(settings).sent == 0, "not before its time"
    wait = value(
        users, "select extract(epoch from max(next_attempt_at) - clock_timestamp()) from crm_migration.notices"
    )
    assert 30 < wait <= 60
    assert "come back later" in value(users, "select string_agg(last_error, ' ') from crm_migration.notices")
    try_again(users)
    assert due(settings).sent == 2
    assert sorted(mailbox.recipients) == [ANN, BOB]
    assert told_once(users, settings)


@pytest.mark.fault(number=22)
def test_refused_person_is_given_up_and_can_be_tried_by_hand(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    settings = mailing(users)
    plan(users, hours=20)
    mailbox.refused = {ANN: f"550 5.1.1 {ANN} is unknown here"}
    report = due(settings)
    assert (report.sent, report.pending, report.exit_code) == (1, 0, Exit.OK)
    assert report.failed == ["day-before: 550 5.1.1 … is unknown here"]
    mailbox.refused = {}
    try_again(users)
    assert due(settings).sent == 0
    assert announce.send(users, settings, "day-before").sent == 1
    assert sorted(mailbox.recipients) == [ANN, BOB]


def test_attempts_are_bounded(users: Connection, mailing: MakeSettings, mailbox: Mailbox) -> None:
    settings = mailing(users, notice_attempts=2)
    users.execute("delete from public.sales where email <> %s", [ANN])
    plan(users, hours=20)
    mailbox.answers = ["451 no", "451 no"]
    assert due(settings).retried == 1
    try_again(users)
    assert due(settings).failed == ["day-before: 451 no"]
    assert value(users, "select (state, attempts)::text from crm_migration.notices") == "(failed,2)"


@pytest.mark.fault(number=22)
def test_server_that_is_down_delays_the_notice_only(users: Connection, mailing: MakeSettings, mailbox: Mailbox) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]
    plan(users, hours=20)
    # more often than a notice may be turned away
    for _ in range(3):
        report = due(mailing(users, smtp_port=closed, notice_attempts=2))
        assert report.exit_code == Exit.RESUMABLE
        assert f"127.0.0.1:{closed}" in report.server_problem
        assert (report.sent, report.pending) == (0, 2)
        try_again(users)
    assert due(mailing(users)).sent == 2
    assert told_once(users, mailing(users))


@pytest.fixture
def mute() -> Iterator[tuple[int, threading.Event]]:
    """A server that sends one letter of its greeting at a time, so that no single read ever times out."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not stop.is_set():
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    while not stop.wait(0.2):
                        try:
                            client.sendall(b"2")
                        except OSError:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], stop
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.fault(number=22)
def test_server_that_never_ends_its_sentence_is_hung_up_on(
    users: Connection, mailing: MakeSettings, mute: tuple[int, threading.Event]
) -> None:
    plan(users, hours=20)
    started = time.monotonic()
    report = due(mailing(users, smtp_port=mute[0], smtp_timeout=1))
    assert "did not answer within 1 s" in report.server_problem
    assert report.pending == 2
    assert time.monotonic() - started < 20


@pytest.mark.fault(number=22)
def test_slow_server_holds_nothing_that_a_migration_waits_for(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    settings = mailing(users, smtp_timeout=30)
    plan(users, hours=20)
    mailbox.answers = [6.0]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(due, settings)
        deadline = time.monotonic() + 20
        while mailbox.answers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not mailbox.answers, "the mail is under way"
        users.execute("set lock_timeout = '1s'")
        control.install(users, settings)
        open_transactions = value(
            users,
            "select count(*) from pg_catalog.pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid() and xact_start is not null",
        )
        # somebody else goes on with the other person meanwhile, and leaves the first alone
        try_again(users)
        assert due(settings).sent == 1
        assert not slow.done(), "it took long indeed"
        assert open_transactions == 0
        assert slow.result(30).sent == 1
    assert sorted(mailbox.recipients) == [ANN, BOB]


@pytest.mark.fault(number=22)
def test_mail_that_is_accepted_twice_can_be_recognised(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    settings = mailing(users)
    users.execute("delete from public.sales where email <> %s", [ANN])
    plan(users, hours=20)
    mailbox.answers = ["drop"]
    assert due(settings).retried == 1
    assert len(mailbox.mails) == 1, "the server has it, and we cannot know"
    try_again(users)
    assert due(settings).sent == 1
    assert mailbox.recipients == [ANN, ANN]
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1
    assert told_once(users, settings)


def test_password_travels_encrypted_to_a_server_that_is_trusted(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    secret = tmp_path / "password"
    secret.write_text("s3cret-m4rker\n")
    plan(users, hours=20)
    with mail_server(mailbox, certificate=certificate, auth=True) as port:
        own: dict[str, Any] = {"smtp_host": "localhost", "smtp_port": port, "smtp_tls": "starttls", "smtp_user": "crm"}
        own["smtp_timeout"] = 30
        assert "not trusted" in due(mailing(users, **own, smtp_password="s3cret-m4rker")).server_problem
        assert mailbox.logins == [], "no password for a stranger"
        own["smtp_ca_file"] = str(certificate[0])
        try_again(users)
        assert "not trusted" in due(mailing(users, **{**own, "smtp_host": "127.0.0.1"})).server_problem, "another name"
        try_again(users)
        refused = due(mailing(users, **own, smtp_password="wr0ng-m4rker"))
        assert "refuses the login" in refused.server_problem
        assert "wr0ng-m4rker" not in repr(refused) + value(
            users, "select string_agg(last_error, '') from crm_migration.notices"
        )
        try_again(users)
        assert due(mailing(users, **own, smtp_password_file=str(secret))).sent == 2
    assert mailbox.was_encrypted == {True}
    assert set(mailbox.logins) == {"crm"}


def test_server_without_encryption_gets_nothing_unless_that_is_wanted(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    plan(users, hours=20)
    report = due(mailing(users, smtp_tls="starttls"))
    assert "does not offer" in report.server_problem
    assert mailbox.mails == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"smtp_host": ""}, "No mail server"),
        ({"smtp_tls": "ssl"}, "smtp_tls"),
        ({"smtp_host": "mail.example.com", "smtp_user": "crm"}, "unencrypted"),
        ({"smtp_password_file": "/nowhere/at-all"}, "/nowhere/at-all"),
        ({"smtp_tls": "starttls", "smtp_ca_file": "/nowhere/at-all"}, "/nowhere/at-all"),
        ({"mail_from": ""}, "mail_from"),
        ({"mail_from": "crm@example.com\nBcc: x@example.com"}, "mail_from"),
        ({"mail_reply_to": "nobody"}, "mail_reply_to"),
        ({"notice_timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"status_url": "javascript:alert(1)"}, "status_url"),
    ],
)
def test_settings_that_cannot_work_are_named_before_anything_is_sent(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox, values: dict[str, Any], named: str
) -> None:
    plan(users, hours=20)
    with pytest.raises(ConfigurationError) as refused:
        due(mailing(users, **values))
    assert named in refused.value.what
    assert refused.value.next
    assert mailbox.mails == []
    assert value(users, "select count(*) from crm_migration.notices") == 0


def test_trial_goes_to_one_address_and_leaves_no_trace(
    users: Connection, mailing: MakeSettings, mailbox: Mailbox
) -> None:
    settings = mailing(users)
    assert announce.send_test(users, settings, "completed", "me@example.com").sent == 1
    assert mailbox.recipients == ["me@example.com"]
    assert mailbox.mails[0]["Subject"].strip().startswith("[Test] ")
    assert value(users, "select count(*) from crm_migration.notices") == 0
    with pytest.raises(UsageError, match="not an e-mail address"):
        announce.send_test(users, settings, "completed", "me")
    with pytest.raises(UsageError, match="no notice 'complete'"):
        announce.send_test(users, settings, "complete", "me@example.com")
    mailbox.answers = ["550 no"]
    with pytest.raises(announce.MailServerProblem):
        announce.send_test(users, settings, "completed", "me@example.com")
