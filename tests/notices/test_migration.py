"""A whole migration while the mail server misbehaves: it goes on, and in the end everybody was told."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crm_migrate import database as db
from crm_migrate.settings import Settings
from crm_migrate.steps import announce, verify
from mail_server import Mailbox
from people import value
from running import do_it

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


@pytest.mark.fault(number=22)
def test_migration_goes_on_whatever_the_mail_server_does(
    tried_2026: Connection, mapped: MakeSettings, port: int, mailbox: Mailbox
) -> None:
    own: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_tls": "none", "smtp_timeout": 1}
    settings = mapped(tried_2026, **own, mail_from="crm@example.com", notice_attempts=100)
    told = value(tried_2026, "select count(*) from public.sales where disabled is not true")
    assert told > 2
    over = threading.Event()
    problems: set[str] = set()

    def cron() -> None:
        while not over.is_set():
            # slow, hanging up after it has taken the mail, busy: never a clean delivery
            mailbox.answers = [2.0, "drop", "451 4.3.0 come later"] * 5
            with db.connect(settings) as connection:
                report = announce.due(connection, settings)
                assert report.sent == 0, report
                found = connection.execute("select last_error from crm_migration.notices where last_error is not null")
                problems.update(row[0] for row in found)
                connection.execute("update crm_migration.notices set next_attempt_at = clock_timestamp()")
            over.wait(0.2)

    ringing = threading.Thread(target=cron)
    ringing.start()
    try:
        done = do_it(settings)
    finally:
        over.set()
        ringing.join(60)
    assert not ringing.is_alive()
    assert {step.state for step in done.steps} == {"done"}
    for happened in ("did not answer", "closed", "come later"):
        assert any(happened in problem for problem in problems), problems
    started = "select count(*) from crm_migration.notices where event = 'started'"
    assert value(tried_2026, started) == told, "the run was told of while it was at work"

    mailbox.answers = []
    tried_2026.execute("update crm_migration.notices set next_attempt_at = clock_timestamp()")
    assert announce.due(tried_2026, settings).pending == 0
    sent = tried_2026.execute(
        "select recipient, message_id from crm_migration.notices where event = 'completed' and state = 'sent'"
    ).fetchall()
    assert len(sent) == told
    copies = defaultdict(set)
    for recipient, mail in zip(mailbox.recipients, mailbox.mails, strict=True):
        copies[recipient, mail["Subject"]].add(mail["Message-ID"])
    assert {len(ids) for ids in copies.values()} == {1}, "each copy of a mail can be recognised as one"
    text = next(mail for mail in mailbox.mails if mail["Message-ID"] == sent[0][1]).get_body(("plain",))
    assert text is not None
    deals = value(tried_2026, "select count(*) from crm_archive.deals")
    assert f"{deals:,} deals are now {deals:,} opportunities." in " ".join(text.get_content().split())

    found = {oracle.id: oracle for oracle in verify.run(tried_2026, settings).oracles}
    assert found["O7"].ok is True
    assert found["O7"].checked_rows == 2 * told
