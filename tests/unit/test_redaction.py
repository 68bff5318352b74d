"""No secret and no control character in what is said, logged or stored."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crm_migrate import log, redaction, settings, tools
from crm_migrate.cli import terminal
from crm_migrate.controls import written_out, written_out_in_json
from crm_migrate.errors import MigrationError

PASSWORD = 'p"q\\r s%40'
URL = "postgresql://ann:p%22q%5Cr%20s%2540@host/crm"
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b1m\x7f\u202e [red]x[/red] :smile:"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What these tests remember is nobody else's secret."""
    monkeypatch.setattr(redaction, "_known", set())
    yield
    log.logger.handlers.clear()


@pytest.mark.parametrize(
    "dsn",
    [URL, f"host=h user=ann password='{PASSWORD.replace(chr(92), chr(92) * 2)}'", 'host=h sslpassword=p"q\\\\r\\ s%40'],
)
def test_an_error_never_holds_the_password(dsn: str) -> None:
    settings.Settings(dsn=dsn)
    error = MigrationError(f"no {PASSWORD}", why=f"in {PASSWORD}", state=PASSWORD, next=PASSWORD)
    assert PASSWORD not in json.dumps(list(error.as_dict().values())).encode().decode("unicode_escape")
    assert error.as_dict() == {"code": "CRM-001", "what": "no ***", "why": "in ***", "state": "***", "next": "***"}
    assert str(error) == "no ***"


def test_a_url_is_redacted_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.Settings(dsn=URL)
    assert redaction.redacted(f"cannot reach {URL}") == "cannot reach postgresql://ann:***@host/crm"
    # known from the environment only
    monkeypatch.setenv("PGPASSWORD", "from-the-environment")
    assert redaction.redacted("from-the-environment!") == "***!"


def test_nothing_is_redacted_that_is_no_secret() -> None:
    assert redaction.redacted(f"no {PASSWORD}") == f"no {PASSWORD}"


def test_a_log_line_is_redacted_before_it_is_json(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    log.open_log(settings.Settings(dsn=URL, log_file=file), "doctor")
    log.event("x", data={"list": [PASSWORD, 1, None], "path": Path(PASSWORD)}, text=f"{PASSWORD}{HOSTILE}")
    try:
        raise ValueError(PASSWORD)
    except ValueError:
        log.logger.error("unexpected", exc_info=True)
    logging.getLogger("other").error("elsewhere")
    content = file.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in content.splitlines()]
    assert lines[1]["data"] == {"list": ["***", 1, None], "path": "***"}
    assert lines[1]["text"] == f"***{HOSTILE}"
    assert "ValueError: ***" in lines[2]["traceback"]
    assert 'p\\"q' not in content
    assert written_out(content) == content


def test_a_program_that_is_asked_for_its_version_gets_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\necho 'pg_dump (PostgreSQL) 18.0'\n", encoding="utf-8")
    program.chmod(0o755)
    for name in ("PGPASSWORD", "DATABASE_URL", "CRM_MIGRATE_SMTP_PASSWORD", "PGSSLMODE"):
        monkeypatch.setenv(name, "s3cret")
    assert tools.major_version(program) == 18
    held = [line for line in (tmp_path / "seen").read_text(encoding="utf-8").splitlines() if "s3cret" in line]
    assert held == ["PGSSLMODE=s3cret"]


def test_no_text_commands_the_terminal() -> None:
    table = Table("name")
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    for made, harmless in ((terminal.stdout(), True), (Console(markup=False), False)):
        made.file = io.StringIO()
        made.print(table, HOSTILE, Text(HOSTILE, style="bold"))
        said = made.file.getvalue()
        assert "[red]x[/red] :smile:" in said
        assert ("\x1b[2J" not in said and "\x9b" not in said and "\u202e" not in said) is harmless, repr(said)
    assert "\\x1b[2J" in written_out(HOSTILE)


def test_json_says_the_same_without_control_characters() -> None:
    document = json.dumps({"text": HOSTILE}, ensure_ascii=False)
    assert written_out(document) != document
    harmless = written_out_in_json(document)
    assert json.loads(harmless) == {"text": HOSTILE}
    assert written_out(harmless) == harmless
