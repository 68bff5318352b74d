"""The administrator's runbook, from a week before to ninety days after: every command of its boxes, in its order."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crm_migrate import paths
from crm_migrate.notices import schedule
from crm_migrate.settings import Settings
from mail_server import Mailbox, mail_server
from people import as_role, value
from running import typed, unlocked
from snippets import blocks, commands

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

RUNBOOK = paths.DOCS / "runbook.md"
CONFIRMED = {"apply", "rollback", "compat drop", "archive purge"}


@dataclass(frozen=True)
class Box:
    """Commands of one box, and the section that it stands in."""

    section: str
    text: str

    @property
    def commands(self) -> list[str]:
        return re.findall(r"`crm-migrate ([^`]+)`", self.text)

    @property
    def is_a_decision(self) -> bool:
        """It names what may be done when something went wrong; docs/what-if.md does that."""
        return bool(re.search("Decide:|NO-GO under|stay, or", self.text))


def boxes() -> list[Box]:
    found = []
    for section in RUNBOOK.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition(" ·")
        checklist = text.split("\n### ")[0]
        found += [Box(title, box) for box in checklist.split("- [ ] ")[1:]]
    return found


class Weeks:
    """The administrator, and the time that goes by between the sections."""

    def __init__(self, connection: Connection, settings: Settings, mail: dict[str, str]) -> None:
        self._connection = connection
        self._settings = settings
        self._mail = mail

    def come_to(self, section: str) -> None:
        """Make it the time of a section: by the server's clock everything written before is as much older."""
        if section == "T − 24 hours":
            self._connection.execute(
                "update crm_migration.schedule set starts_at = clock_timestamp() + interval '23 hours'"
            )
        elif section == "T − 0":
            self._connection.execute("update crm_migration.schedule set starts_at = clock_timestamp()")
        elif section in ("T + 48 hours", "T + 1 month", "T + 90 days"):
            days = {"T + 48 hours": 1, "T + 1 month": 31, "T + 90 days": 60}[section]
            times = (
                "cutover_at",
                "started_at",
                "finished_at",
                "locked_at",
                "unlocked_at",
                "rollback_until",
                "archive_until",
            )
            older = ", ".join(f"{name} = {name} - make_interval(days => {days})" for name in times)
            self._connection.execute(f"update crm_migration.runs set {older}")

    def do(self, command: str) -> str:
        words = shlex.split(command)
        name = next((known for known in CONFIRMED if command.startswith(known)), None)
        if name:
            words += ["--confirm-database", self._connection.info.dbname]
        if "--at" in words:
            planned = schedule.server_clock(self._connection) + timedelta(days=7)
            words[words.index("--at") + 1] = f"{planned:%Y-%m-%d %H:%M}"
        if words[0] == "serve":
            words.append("--help")  # it ends when it is told; tests/web/test_serve.py starts it
        if "--report" in words:
            at = words.index("--report") + 1
            words[at] = str(self._settings.work_dir / words[at])
        code, said = typed(self._settings, *words, **self._mail)
        assert code == 0, f"{command}: {said}"
        return said


def test_every_box_is_ticked(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    mailbox = Mailbox()
    sections: list[str] = []
    done: dict[str, list[str]] = {}
    with mail_server(mailbox) as port:
        mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "SMTP_TLS": "none", "MAIL_FROM": "crm@example.com"}
        weeks = Weeks(legacy_2026, settings, {f"CRM_MIGRATE_{name}": text for name, text in mail.items()})
        for box in boxes():
            if box.section not in sections:
                sections.append(box.section)
                weeks.come_to(box.section)
            for query in re.findall(r"`(select [^`]+)`", box.text):
                with psycopg.connect(settings.dsn) as terminal:
                    by_hour = terminal.execute(query).fetchall()
                assert sum(row[1] for row in by_hour) == value(legacy_2026, "select count(*) from public.deals")
            for command in [] if box.is_a_decision else box.commands:
                done.setdefault(command, []).append(weeks.do(command))
            if "Log in as a user" in box.text:
                _work(legacy_2026)
            _hold(legacy_2026, box, mailbox)
    assert sections == ["T − 7 days", "T − 24 hours", "T − 0", "T + 48 hours", "T + 1 month", "T + 90 days"]
    assert "Rollback until" in done["apply"][-1]
    assert "changed since" in done["verify"][-1]
    assert unlocked(legacy_2026)
    assert value(legacy_2026, "select to_regnamespace('crm_archive') is null")
    assert value(legacy_2026, "select to_regclass('public.deals') is null")
    assert list((settings.work_dir).glob("*rchive*")), "what was exported stays"


def _hold(connection: Connection, box: Box, mailbox: Mailbox) -> None:
    """What a box promises."""
    if "The first notice goes out" in box.text:
        people = {row[0] for row in connection.execute("select email::text from public.sales where not disabled")}
        assert people
        assert people <= set(mailbox.recipients)
    if "the application against it" in box.text:
        assert value(connection, "select to_regclass('public.opportunities') is null"), "it was rolled back"


def _work(connection: Connection) -> None:
    """As a user: create an opportunity, move it, delete it."""
    with as_role(connection):
        key = value(connection, "insert into public.opportunities (name) values ('try') returning id")
        connection.execute("update public.opportunities set stage = 'qualified' where id = %s", [key])
        connection.execute("delete from public.opportunities where id = %s", [key])


def test_support_requests_are_counted_as_the_runbook_says(tmp_path: Path) -> None:
    (example,) = blocks(RUNBOOK, "csv")
    (tmp_path / "requests.csv").write_text(example, encoding="utf-8")
    by_hour, by_subject = [
        re.findall(r"^ *(\d+) (.+)$", subprocess.check_output(["sh", "-c", command], cwd=tmp_path, text=True), re.M)
        for command in commands(RUNBOOK)
    ]
    assert by_hour == [("1", "2026-11-30 07"), ("2", "2026-11-30 08"), ("1", "2026-11-30 09")]
    assert by_subject[0] == ("2", "opportunity")
    assert {subject for _, subject in by_subject} <= set(
        re.findall(r"\w+", re.findall(r"about what \(\*(.*?)\*\)", RUNBOOK.read_text(encoding="utf-8"))[0])
    )


@pytest.mark.parametrize("demand", ["low usage", "test environment like production", "Counting support requests"])
def test_what_must_not_be_forgotten_has_its_place(demand: str) -> None:
    assert demand in RUNBOOK.read_text(encoding="utf-8")
