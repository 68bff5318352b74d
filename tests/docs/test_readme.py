"""What the README says is run: its commands, and a demo whose outcome has the shape of its transcript."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from crm_migrate import paths
from crm_migrate.settings import Settings
from running import program

Connection = psycopg.Connection[Any]
MakeSettings = Callable[..., Settings]

README = (paths.PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.S)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
TRANSCRIPT = README.split("<!-- demo transcript: begin -->")[1].split("<!-- demo transcript: end -->")[0]


def shape(text: str) -> list[str]:
    """Lines without what differs between runs: numbers, run ids, rulers, wrapping."""
    lines = []
    for line in text.splitlines():
        bare = re.sub(r"\d{8}-\d{6}-[0-9a-f]{4}", "RUN", line)
        bare = re.sub(r"[\d,.]+", "N", re.sub(r"[─━-]+", "", bare))
        bare = " ".join(bare.split())
        if bare and bare != "```text" and bare != "```":
            lines.append(bare)
    return lines


def test_the_two_commands_are_on_the_first_screen() -> None:
    first_screen = README.split("<!-- demo transcript: begin -->")[0]
    assert "make demo" in first_screen
    assert "make test" in first_screen
    listed = subprocess.run(["make", "help"], cwd=paths.PROJECT, capture_output=True, text=True, check=True).stdout
    for target in ("make setup", "make demo", "make test"):
        assert target in listed


def test_demo_prints_what_the_readme_shows_and_serves_until_ctrl_c(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    with said.open("w", encoding="utf-8") as errors:
        demo = subprocess.Popen(
            [sys.executable, "-m", "crm_migrate", "demo", "--contacts", "5000", "--serve"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(paths.PROJECT / "wrapper"), "COLUMNS": "80", "NO_COLOR": "1"},
            start_new_session=True,
        )
    assert demo.stdout is not None
    try:
        shown: list[str] = []
        while not (shown and shown[-1].startswith("Review console")):
            line = demo.stdout.readline()
            assert line, said.read_text(encoding="utf-8")
            shown.append(line)
        postmaster = psutil.Process(
            int((tmp_path / ".crm-migrate/demo/server/postmaster.pid").read_text().splitlines()[0])
        )
        _answers(status=shown[-2].split()[-1], review=shown[-1].split()[-1])
    finally:
        # a terminal tells the program and its PostgreSQL at once
        os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(timeout=60) == 0, said.read_text(encoding="utf-8")
    # it has said goodbye; its process may take a moment more
    postmaster.wait(timeout=10)
    written, real = shape(TRANSCRIPT), shape(said.read_text(encoding="utf-8") + "".join(shown))
    missing = [line for line in written if line not in real]
    assert missing == [], "the transcript in the README is out of date"
    assert len(written) > 30


def _answers(*, status: str, review: str) -> None:
    """The demo's pages show its migration, the console to whoever has the second address."""
    with httpx.Client(timeout=30, follow_redirects=True) as client:
        assert client.get(status + "api/status").json()["state"] == "completed"
        assert client.get(status + "review").status_code == 401
        checklist = client.get(review)
        assert checklist.status_code == 200
        assert "0 of 100 signed off" in checklist.text
        assert "= same" in client.get(status + "review/samples").text


def test_every_command_of_the_readme_runs_in_its_order(legacy_2026: Connection, mapped: MakeSettings) -> None:
    settings = mapped(legacy_2026)
    name = legacy_2026.info.dbname
    wanted = [command.split()[1:] for command in COMMANDS if command.startswith("crm-migrate ")]
    assert [words[0] for words in wanted] == ["doctor", "dry-run", "apply", "verify", "rollback", "archive"]
    for words in wanted:
        confirmed = ["--confirm-database", name] if words[0] in ("apply", "rollback") else []
        words = [str(settings.work_dir / word) if word.endswith(".html") else word for word in words]
        run = program(settings, *words, *confirmed)
        said = run.communicate(timeout=200)[1]
        assert run.returncode == 0, f"{words}: {said}"
    report = (settings.work_dir / "dry-run.html").read_text(encoding="utf-8")
    assert 'href="lineage.html"' in report
    assert (settings.work_dir / "lineage.html").stat().st_size > 1_000_000


def test_analyst_builds_with_dbt_alone_and_touches_nothing(legacy_2026: Connection, tmp_path: Path) -> None:
    assert any(command.endswith("dbt build") for command in COMMANDS)
    info = legacy_2026.info
    before = legacy_2026.execute("select count(*) from pg_catalog.pg_class").fetchone()
    built = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "--quiet", "build"],
        cwd=paths.DBT_PROJECT,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PGHOST": info.host,
            "PGPORT": str(info.port),
            "PGUSER": info.user,
            "PGPASSWORD": "",
            "PGDATABASE": info.dbname,
            "DBT_TARGET_PATH": str(tmp_path / "target"),
            "DBT_LOG_PATH": str(tmp_path / "logs"),
        },
        timeout=280,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-3000:]
    schemas = legacy_2026.execute(
        "select nspname::text from pg_catalog.pg_namespace where nspname like 'crm\\_%'"
    ).fetchall()
    assert len(schemas) == 1
    assert schemas[0][0].startswith("crm_build_")
    own = legacy_2026.execute(
        "select count(*) from pg_catalog.pg_class where relnamespace = %s::regnamespace", [schemas[0][0]]
    ).fetchone()
    assert before is not None
    assert own is not None
    assert own[0] > 30
    assert legacy_2026.execute("select to_regclass('public.opportunities')").fetchone() == (None,)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (paths.PROJECT / link).exists()


@pytest.mark.parametrize("folder", ["dbt_project", "seeds", "soda", "sql", "wrapper", "tests", "docs"])
def test_the_layout_is_told(folder: str) -> None:
    assert f"`{folder}/`" in README
    assert (paths.PROJECT / folder).is_dir()
