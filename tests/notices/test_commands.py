"""The commands as operators and cron call them: their documents, their texts and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from crm_migrate import database as db
from crm_migrate.errors import Exit
from crm_migrate.notices import facts, letters, outbox, schedule
from crm_migrate.notices.facts import Summary
from crm_migrate.reports import StageCount
from crm_migrate.settings import Settings
from crm_migrate.steps import announce
from mail_server import Mailbox
from notices.conftest import add_user
from people import value
from running import program

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]


def run(settings: Settings, *arguments: str, code: int = 0) -> tuple[str, str]:
    own = {
        f"CRM_MIGRATE_{name.upper()}": str(getattr(settings, name))
        for name in ("smtp_host", "smtp_port", "smtp_tls", "smtp_password", "mail_from")
    }
    started = program(settings, "announce", *arguments, **own)
    stdout, stderr = started.communicate(timeout=100)
    assert started.returncode == code, stderr + stdout
    assert "s3cret-m4rker" not in stdout + stderr
    return stdout, stderr


def test_documents_of_the_commands(users: Connection, mailing: MakeSettings, mailbox: Mailbox, tmp_path: Path) -> None:
    settings = mailing(users, smtp_password="s3cret-m4rker")
    add_user(users, "No", "Address", "nobody")
    start = schedule.server_clock(users).replace(year=2099)
    found = json.loads(run(settings, "plan", "--at", start.isoformat(), "--duration", "90", "--json")[0])
    assert found["schema"] == "crm-migrate/announce plan/1"
    assert datetime.fromisoformat(found["starts_at"]) == start
    assert (found["minutes"], found["recipients"], found["in_force"], found["mail_is_set"]) == (90, 2, True, True)
    assert found["unreachable"] == [{"sales_id": 4, "why": "not an e-mail address"}]
    found = json.loads(run(settings, "plan", "--json", code=Exit.USAGE)[0])
    assert "--call-off" in found["error"]["what"]

    assert json.loads(run(settings, "due", "--json")[0])["queued"] == {}
    assert run(settings, "due")[0] == "", "cron mails what is printed"
    assert "--yes" in run(settings, "send", "day-before", code=Exit.USAGE)[1]
    mailbox.answers = ["451 later"]
    found = json.loads(run(settings, "send", "day-before", "--yes", "--json", code=Exit.RESUMABLE)[0])
    assert (found["queued"], found["sent"], found["retried"], found["ok"]) == ({"day-before": 2}, 1, 1, False)
    found = json.loads(run(settings, "send", "started", "--yes", "--json", code=Exit.WRONG_STATE)[0])
    assert "crm-migrate announce preview started" in found["error"]["next"]

    shown, said = run(settings, "preview", "completed")
    assert shown.startswith("Subject: The CRM is back")
    assert "made up" in said
    shown, said = run(settings, "preview", "day-before", "--out", str(tmp_path / "previews"))
    assert [Path(line).name for line in shown.split()] == ["day-before.txt", "day-before.html", "day-before.eml"]
    assert "made up" not in said
    assert (tmp_path / "previews" / "day-before.html").read_text().startswith("<!doctype html>")
    assert "s3cret-m4rker" not in settings.log_file.read_text()


def test_plan_takes_its_length_from_the_newest_passed_dry_run(users: Connection, mailing: MakeSettings) -> None:
    settings = mailing(users, smtp_host="")
    assert announce.plan(users, settings, "2099-01-01 22:00", None).minutes == 60
    users.execute(
        "insert into crm_migration.runs (run_id, kind, state, operator, host, pid, summary) values"
        """ ('d1', 'dry-run', 'passed', 'ann', 'here', 1, '{"estimate": {"downtime_seconds_with_buffer": 3700.5}}')"""
    )
    made = announce.plan(users, settings, "2099-01-01 22:00", None)
    assert (made.minutes, made.mail_is_set) == (75, False)


def test_every_notice_can_be_looked_at_before_anything_is_planned(
    database: Connection, make_settings: MakeSettings
) -> None:
    settings = make_settings(database, status_url="https://status.example.com", whats_new_url="https://new.example.com")
    with db.connect(settings) as connection:
        connection.execute("set default_transaction_read_only = on")
        for event in outbox.EVENTS:
            shown = announce.preview(connection, settings, event, None)
            assert shown.example
            letter = shown.letter
            for text in (letter.subject, letter.text, letter.html):
                assert "None" not in text
                assert "{{" not in text
    assert value(database, "select to_regnamespace('crm_migration') is null")


def test_completion_is_told_in_words_for_a_crm_of_any_size() -> None:
    found = [
        StageCount("won", "closed_won", 90),
        StageCount(" Won ", "closed_won", 7),
        StageCount("won", "lead", 3),
        StageCount(" ", "lead", 2),
        *(StageCount(f"stage {number}", "lead", 1) for number in range(20)),
    ]
    told = facts.stages(found)
    assert told[:4] == [("won", "closed won"), ("won", "lead"), ("(empty)", "lead"), ("stage 0", "lead")]
    assert len(told) == 12
    settings = Settings(dsn="")
    known = facts.example(settings)

    def text(*numbers: int) -> str:
        summary = Summary(*numbers)
        letter = letters.Letters(settings).write("completed", known | {"summary": summary, "stages": told}, "Ann")
        assert "\u00a0" not in letter.text
        return " ".join(letter.text.split())

    many = text(2500, 2500, 5000, 5188, 2500, 2499, 12, 9, 1270, 2)
    for said in (
        "2,500 deals are now 2,500 opportunities.",
        "5,000 contacts have 5,188 links to organizations",
        "12 principals and 9 distributors are marked among the companies, with 1,270 relationships between them.",
        "2,499 of 2,500 tasks are activities too.",
        "2 records could not be taken over. They are kept whole",
        "- won → closed won",
    ):
        assert said in many
    one = text(1, 1, 1, 1, 1, 1, 1, 0, 1, 1)
    for said in (
        "1 deal is now 1 opportunity.",
        "1 contact has 1 link to an organization;",
        "1 principal and 0 distributors are marked among the companies, with 1 relationship between them.",
        "1 of 1 task is an activity too.",
        "1 record could not be taken over. It is kept whole",
    ):
        assert said in one
    none = text(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert "0 deals are now 0 opportunities." in none
    for unsaid in ("principals and", "tasks are", "taken over"):
        assert unsaid not in none
