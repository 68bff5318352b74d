"""What a terminal gets: completion, few letters, narrow windows, and nothing that it would obey."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import BarColumn, Progress

from crm_migrate import paths
from crm_migrate.cli import render
from crm_migrate.cli.terminal import stdout
from crm_migrate.cli.visible import visible
from crm_migrate.outcomes import Aspect, Comparison, Move
from screen import ROWS, Screen

COMPLETE = "_CRM_MIGRATE_COMPLETE"


def completed(**environ: str) -> subprocess.CompletedProcess[str]:
    """The installed program, as a shell's completion calls it."""
    return subprocess.run(
        ["crm-migrate"],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(paths.PROJECT / "wrapper"),
            **environ,
        },
        capture_output=True,
        text=True,
    )


def test_shell_completes_commands_and_options() -> None:
    commands = completed(**{COMPLETE: "complete_bash"}, COMP_WORDS="crm-migrate ", COMP_CWORD="1").stdout.split()
    assert {"apply", "dry-run", "explain", "kit", "rollback", "sample", "status"} <= set(commands)
    found = completed(**{COMPLETE: "complete_bash"}, COMP_WORDS="crm-migrate dry-run --comp", COMP_CWORD="2").stdout
    assert found.split() == ["--compare"]
    found = completed(**{COMPLETE: "complete_zsh"}, _TYPER_COMPLETE_ARGS="crm-migrate backup ver").stdout
    assert "verify" in found


def test_installed_completion_works_in_a_real_shell(tmp_path: Path) -> None:
    shell = shutil.which("bash")
    assert shell is not None, "bash is not installed for the test of its completion"
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(paths.PROJECT / "wrapper"),
    }
    # which shell it is, is told by the processes above
    for command, shown in (("--show-completion", COMPLETE), ("--install-completion", "bash completion installed")):
        words = [shell, "--norc", "-c", f"crm-migrate {command}; exit $?"]
        assert shown in subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stdout
    asked = "COMP_WORDS=(crm-migrate dry-run --comp); COMP_CWORD=2; _crm_migrate_completion crm-migrate"
    found = subprocess.run(
        [shell, "--norc", "-c", f'. ~/.bashrc; complete -p crm-migrate; {asked}; echo "${{COMPREPLY[@]}}"'],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert found == ["complete -o default -F _crm_migrate_completion crm-migrate", "--compare"]


def test_an_error_of_any_length_is_on_one_screen_of_a_terminal_and_whole_elsewhere() -> None:
    command = [sys.executable, "-m", "crm_migrate", "config"]
    named = {"CRM_MIGRATE_BATCH_SIZE": "many " * 2000 + "end", "PYTHONPATH": str(paths.PROJECT / "wrapper")}
    environ = {**os.environ, **named}
    screen = Screen(command, environ)
    shown = screen.end()
    assert screen.process.returncode == 2
    assert shown.startswith("CRM-011  ")
    assert "more lines: --json shows them" in shown
    assert "  state Nothing was changed." in shown
    assert "  next  " in shown
    assert screen.lines() < ROWS
    piped = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert "".join(piped.stderr.split()).count("many") >= 2000
    assert "more lines" not in piped.stderr
    document = subprocess.run([*command, "--json"], env=environ, capture_output=True, text=True).stdout
    assert document.count("many ") >= 2000


def test_escapes_and_marks_of_direction_are_written_out() -> None:
    assert visible("\x1b[2J\u202eab\x9b\u2066") == "\\x1b[2J\\u202eab\\x9b\\u2066"
    assert visible("שלום 👩‍👩‍👧 Zürich") == "שלום 👩‍👩‍👧 Zürich"
    assert visible("x" * 50, limit=10) == "x" * 10 + "... (50 characters)"
    assert visible("line\nnext\ttab\x00") == "line\\nnext\\ttab\\x00"
    assert visible("line\nnext\r", lines=True) == "line\nnext\\r"
    # an error that quotes what it was given
    shown = subprocess.run(
        [sys.executable, "-m", "crm_migrate", "doctor", "--config", "\x1b[2Jmissing.toml"],
        env={**os.environ, "PYTHONPATH": str(paths.PROJECT / "wrapper"), "TERM": "dumb"},
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 2
    assert "\\x1b[2Jmissing.toml" in shown.stderr
    assert "\x1b" not in shown.stdout + shown.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_tables_and_bars_on_a_terminal_of_few_letters(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    monkeypatch.setenv("COLUMNS", "80")
    console = stdout()
    shown = render.table("a long name of a column", ">rows", "meaning", title="title")
    shown.add_row("x" * 100, "1", "words " * 40)
    console.print(shown)
    moves = (Move("proposal", "lead", 3, ("1", "2", "3")), Move(None, "\x1b[31m" + "y" * 500, 1, ("4",)))
    render.comparison(console, Comparison("20261125-120000-abcd", 4, (Aspect("deals", "stage", 4, moves),)))
    with Progress(BarColumn(bar_width=20), console=console) as progress:
        progress.add_task("at work", total=10, completed=5)
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert text.isascii()
    assert "\x1b" not in text
    assert "proposal -> lead" in text
    assert max(map(len, text.splitlines())) <= 80
