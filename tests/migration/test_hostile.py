"""A journey there and back with a secret password and hostile names: what was left where, and who saw it."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psycopg
import pytest

import hostile
from crm_migrate import control, fingerprint
from hostile import COMMANDS, DATABASE, HTML, MARKER, MARKUP, SQL, TERMINAL, TEXTS, Journey

Connection = psycopg.Connection[Any]

# the journey is made within the first test
pytestmark = pytest.mark.timeout(1200)
ACCEPTED = ("deals.unmapped_stage", "contacts.unreadable_email")


@pytest.fixture(scope="module")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """Doctor, dry run, apply, status, verify, rollback; then runs that fail, each with `--debug`."""
    with hostile.journey(tmp_path_factory.mktemp("hostile")) as journey, hostile.watched(journey):
        reports = journey.settings.work_dir / "reports"
        accept = [f"--accept-warning={code}" for code in ACCEPTED]
        name = ["--confirm-database", DATABASE]
        control.install(journey.admin, journey.settings)
        before = fingerprint.take(journey.admin)
        journey.run("doctor", "doctor")
        journey.run("dry-run", "dry-run", "--report", str(reports / "dry-run.html"), *accept, "--reason", MARKUP)
        journey.run("apply", "apply", "--report", str(reports / "apply.html"), *name)
        journey.remember_records()
        journey.run("status", "status")
        journey.run("verify", "verify", "--report", str(reports / "verify.html"))
        journey.run("status --json", "status", "--json")
        # something that the legacy shape cannot hold, for the export
        journey.admin.execute(
            "insert into public.contact_preferred_principals (contact_id, principal_organization_id, notes)"
            " select (select max(id) from public.contacts), id, %s from public.companies where name = %s",
            [TERMINAL, SQL],
        )
        journey.run("rollback", "rollback", *name)
        journey.remember_records()
        journey.differences = fingerprint.compare(before, fingerprint.take(journey.admin))
        wrong = journey.settings.dsn.replace(MARKER, f"{MARKER}-wrong")
        journey.run("wrong password", "doctor", "--debug", DATABASE_URL=wrong)
        journey.run("fails", "dry-run", "--debug", prelude=_FAILS)
        journey.run("on the command line", "status", "--json", "--dsn", "host=nowhere.invalid password=" + MARKER)
        journey.remember_records()
        yield journey


# in the middle of a run, with a message that repeats the connection string as it was given and as it is meant
_FAILS = """
import os
from crm_migrate import seeds
from psycopg.conninfo import conninfo_to_dict
def check(*arguments):
    url = os.environ["DATABASE_URL"]
    try:
        raise ValueError(f"cannot reach {url}")
    except ValueError as error:
        raise RuntimeError(f"no {conninfo_to_dict(url)['password']}") from error
seeds.check = check
"""


def test_every_command_did_its_work(travelled: Journey) -> None:
    expected = dict.fromkeys(("doctor", "dry-run", "apply", "status", "verify", "status --json", "rollback"), 0)
    told = {name: code for name, code in travelled.codes.items() if name in expected}
    assert told == expected, next(travelled.said[name] for name, code in told.items() if code)
    assert travelled.differences == []
    assert travelled.codes["wrong password"] == 2
    assert travelled.codes["fails"] == 1


# -- the password ------------------------------------------------------------------------------------------------


def test_password_is_in_no_command_line(travelled: Journey) -> None:
    lines = travelled.command_lines
    assert any("pg_dump" in line for line in lines)
    assert any("pg_restore" in line for line in lines)
    seen = {line for line in lines if MARKER in line}
    # the one that the test itself wrote there shows that looking finds it
    assert {line for line in seen if "nowhere.invalid" not in line} == set()
    assert seen
    assert "can be read by every account" in travelled.said["on the command line"]


def test_password_is_in_the_environment_of_those_only_who_need_it(travelled: Journey) -> None:
    held = travelled.environments
    assert held["pg_dump"] == held["pg_restore"] == {"PGPASSWORD"}
    assert {name for name in held if not name.startswith("python")} == {"pg_dump", "pg_restore"}


def test_password_is_nowhere_in_what_the_program_says(travelled: Journey) -> None:
    for name, said in travelled.said.items():
        assert MARKER not in said, name
    assert "Traceback" in travelled.said["fails"]
    assert "cannot reach" in travelled.said["fails"]
    assert "***" in travelled.said["fails"]


def test_password_is_in_no_file(travelled: Journey) -> None:
    kinds = set()
    for folder in (travelled.settings.work_dir, travelled.home):
        for path, content in hostile.texts_of(folder):
            kinds.add(path.name if path.suffix != ".gz" else ".gz")
            assert MARKER.encode() not in content, path
    assert {"migration.log", "manifest.json", "dry-run.html", ".gz", "run_results.json"} <= kinds


def test_password_is_in_no_run_record(travelled: Journey) -> None:
    assert {"crm_migration.runs.error", "crm_migration.steps.error", "crm_migration.runs.settings"} <= set(
        travelled.documents
    )
    for column, texts in travelled.documents.items():
        assert not any(MARKER in text for text in texts), column
    assert any(
        "Something unexpected" in text or "RuntimeError" in text
        for text in travelled.documents["crm_migration.steps.error"]
    )


def test_password_is_in_no_statement_and_no_application_name(travelled: Journey) -> None:
    said = travelled.server.log_file.read_text(encoding="utf-8", errors="replace")
    for application in ("crm-migrate ", "crm-migrate dbt ", "crm-migrate gates ", "crm-migrate restore "):
        assert f"\n{application}" in said, application
    assert MARKER not in said
    # a statement of anybody is in what was read, so that one with the password would be
    travelled.admin.execute("select 'would be found'")
    assert "select 'would be found'" in travelled.server.log_file.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("place", ["file", "compressed file", "record", "process"])
def test_a_password_that_leaks_would_be_found(travelled: Journey, place: str, tmp_path_factory: Any) -> None:
    import gzip
    import subprocess
    import sys
    import time

    if place == "process":
        leak = [sys.executable, "-c", "import time; time.sleep(0.5)", f"{MARKER}-leak"]
        with hostile.watched(travelled):
            subprocess.run(leak, check=True)
            time.sleep(0.1)
        found = {line for line in travelled.command_lines if f"{MARKER}-leak" in line}
        travelled.command_lines -= found
        assert found
    elif place == "record":
        with travelled.admin.transaction(force_rollback=True):
            travelled.admin.execute("update crm_migration.steps set detail = %s", [json.dumps({"why": MARKER})])
            kept, travelled.documents = travelled.documents, {}
            travelled.remember_records()
            found_in, travelled.documents = travelled.documents, kept
        assert any(MARKER in text for text in found_in["crm_migration.steps.detail"])
    else:
        folder = tmp_path_factory.mktemp("leak")
        content = f"password={MARKER}".encode()
        (folder / ("a.gz" if "compressed" in place else "a")).write_bytes(
            gzip.compress(content) if "compressed" in place else content
        )
        assert [path for path, text in hostile.texts_of(folder) if MARKER.encode() in text]


# -- modes -------------------------------------------------------------------------------------------------------


def _open_to_others(folder: Path) -> tuple[list[Path], int]:
    """What others than its owner may touch, and how many files and folders there are."""
    found = [folder, *folder.rglob("*")]
    return [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077], len(found)


def test_what_is_written_is_for_its_owner_only(travelled: Journey) -> None:
    opened, looked_at = _open_to_others(travelled.settings.work_dir)
    assert opened == []
    assert looked_at > 20
    kinds = {path.suffix for path in travelled.settings.work_dir.rglob("*")}
    assert {".log", ".html", ".json", ".jsonl", ".gz"} <= kinds, "a kind of file was not there to be looked at"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610])
def test_a_file_that_others_may_read_would_be_found(mode: int, tmp_path: Path) -> None:
    leak = tmp_path / "below" / "run.log"
    leak.parent.mkdir(mode=0o700)
    leak.touch(0o600)
    tmp_path.chmod(0o700)
    assert _open_to_others(tmp_path) == ([], 3)
    leak.chmod(mode)
    assert _open_to_others(tmp_path) == ([leak], 3)


# -- hostile texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["doctor", "dry-run", "apply", "status", "verify", "status --json", "rollback", "fails"]
)
def test_no_text_of_the_database_commands_the_terminal(travelled: Journey, name: str) -> None:
    said = travelled.said[name]
    for command in COMMANDS:
        assert command not in said, (name, said[max(0, said.find(command) - 80) :][:160])


def test_texts_are_shown_as_they_are(travelled: Journey) -> None:
    said = travelled.said["dry-run"]
    assert "\x1b[3" in said, "no colours: what shows that control sequences get through at all?"
    assert "[red]drop[/red]" in said
    assert "\\x1b[2J" in said


def test_log_is_json_without_control_characters(travelled: Journey) -> None:
    content = travelled.settings.log_file.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in content.splitlines()]
    assert {"command", "run", "step done", "error"} <= {line["event"] for line in lines}
    assert not any(command in content for command in COMMANDS)


def test_json_document_says_the_same(travelled: Journey) -> None:
    document = json.loads(travelled.said["status --json"])
    assert document["database"] == DATABASE


class _Page(HTMLParser):
    """Elements and attributes of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.handlers: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.handlers |= {name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", ["dry-run", "apply", "verify"])
def test_reports_hold_texts_and_no_elements_of_strangers(travelled: Journey, name: str) -> None:
    source = (travelled.settings.work_dir / "reports" / f"{name}.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(source)
    assert page.elements & {"script", "img", "iframe", "object"} == set()
    assert page.handlers == set()
    assert HTML in re.sub(r"\s+", " ", page.text)


def test_a_page_with_a_script_would_be_found() -> None:
    page = _Page()
    page.feed(f"<p>{HTML}")
    assert page.elements >= {"script", "img"}
    assert page.handlers == {"onerror"}


def test_every_text_came_through(travelled: Journey) -> None:
    for table, column in (("companies", "name"), ("deals", "stage"), ("deals", "category"), ("deal_notes", "text")):
        found = {row[0] for row in travelled.admin.execute(f"select {column} from public.{table}")}
        assert found >= set(TEXTS), table
    assert TERMINAL in TEXTS
