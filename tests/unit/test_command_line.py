"""The program as its users call it: help, errors, exit codes. No database is needed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crm_migrate import cli, paths

COMMANDS = (
    "doctor",
    "dry-run",
    "apply",
    "status",
    "verify",
    "rollback",
    "lock",
    "unlock",
    "backup",
    "announce",
    "compat",
    "docs",
    "config",
    "demo",
    "serve",
)


def crm_migrate(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, without libpq's variables of this machine."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "CRM_MIGRATE", "DATABASE"))}
    return subprocess.run(
        [sys.executable, "-m", "crm_migrate", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**own, "PYTHONPATH": str(paths.PROJECT / "wrapper"), "COLUMNS": "80", "NO_COLOR": "1", **environ},
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def test_help_names_every_command_and_exit_code(tmp_path: Path) -> None:
    shown = crm_migrate("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in COMMANDS:
        assert command in shown.stdout
    assert "NO-GO" in shown.stdout


def test_help_is_fast(tmp_path: Path) -> None:
    crm_migrate("--help", cwd=tmp_path)
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        crm_migrate("--help", cwd=tmp_path)
        taken.append(time.perf_counter() - started)
    # the promise is 0.3 s on a machine at rest; beside other tests the best of five is what can be judged
    assert min(taken) < 0.6, taken


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("backup", "announce", "compat")])
def test_each_command_explains_itself_with_an_example(tmp_path: Path, command: str) -> None:
    shown = crm_migrate(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert f"Example: crm-migrate {command}" in " ".join(shown.stdout.split())


def test_heavy_libraries_are_not_imported_for_help() -> None:
    commands = ("announcing", "checking", "compatibility", "migrating", "housekeeping")
    code = f"import sys, {', '.join(f'crm_migrate.cli.{name}' for name in commands)};"
    code += "print([name for name in ('dbt', 'soda', 'psycopg', 'jinja2', 'psutil') if name in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(paths.PROJECT / "wrapper")},
        check=True,
    )
    assert shown.stdout.strip() == "[]"


def test_no_server_is_a_clear_error_without_the_password(tmp_path: Path) -> None:
    shown = crm_migrate("doctor", "--dsn", "postgresql://ann:m4rker@127.0.0.1:1/crm", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert "CRM-020" in shown.stderr
    assert "Nothing was changed." in shown.stderr
    assert "next" in shown.stderr
    assert "m4rker" not in shown.stderr
    assert "Traceback" not in shown.stderr


def test_an_error_as_json_is_one_document(tmp_path: Path) -> None:
    shown = crm_migrate("doctor", "--json", "--dsn", "postgresql://ann:m4rker@127.0.0.1:1/crm", cwd=tmp_path)
    document = json.loads(shown.stdout)
    assert document["schema"] == "crm-migrate/doctor/1"
    assert document["ok"] is False
    assert document["exit_code"] == 2 == shown.returncode
    assert set(document["error"]) == {"code", "what", "why", "state", "next"}
    assert "m4rker" not in shown.stdout


def test_a_wrong_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "crm-migrate.toml").write_text("batch_sise = 3\n")
    shown = crm_migrate("config", cwd=tmp_path)
    assert shown.returncode == 2
    assert "batch_sise" in shown.stderr


def test_config_shows_origins_and_hides_secrets(tmp_path: Path) -> None:
    (tmp_path / "crm-migrate.toml").write_text("batch_size = 3\n")
    shown = crm_migrate("config", "--json", cwd=tmp_path, DATABASE_URL="postgresql://ann:m4rker@host/crm")
    entries = {entry["name"]: entry for entry in json.loads(shown.stdout)["settings"]}
    assert (entries["batch_size"]["value"], entries["batch_size"]["origin"]) == (3, "crm-migrate.toml")
    assert entries["dsn"]["origin"] == "DATABASE_URL"
    assert "m4rker" not in shown.stdout + shown.stderr


def test_a_warning_is_not_accepted_without_a_reason(tmp_path: Path) -> None:
    shown = crm_migrate("dry-run", "--accept-warning", "deals.blank_name", cwd=tmp_path)
    assert shown.returncode == 2
    assert "--reason" in shown.stderr


def test_every_command_has_a_golden_name() -> None:
    assert cli.app.info.name == "crm-migrate"
