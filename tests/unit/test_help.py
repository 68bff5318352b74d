"""The help texts as users see them at 80 columns.

`UPDATE_GOLDEN=1 make test ARGS=tests/unit/test_help.py` renews them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crm_migrate import paths

GOLDEN = Path(__file__).parent / "golden"
PAGES = {
    "crm-migrate": [],
    **{
        name.replace(" ", "-"): name.split()
        for name in (
            "doctor",
            "dry-run",
            "apply",
            "status",
            "verify",
            "rollback",
            "lock",
            "unlock",
            "backup",
            "backup create",
            "backup verify",
            "backup restore",
            "backup list",
            "announce",
            "announce plan",
            "announce due",
            "announce send",
            "announce preview",
            "archive",
            "archive status",
            "archive export",
            "archive purge",
            "compat",
            "compat status",
            "compat drop",
            "docs",
            "explain",
            "sample",
            "kit",
            "config",
            "demo",
            "serve",
        )
    },
}


@pytest.mark.parametrize("page", PAGES)
def test_help_is_what_was_agreed(page: str) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("CRM_MIGRATE", "DATABASE"))}
    shown = subprocess.run(
        [sys.executable, "-m", "crm_migrate", *PAGES[page], "--help"],
        capture_output=True,
        text=True,
        env={
            **environ,
            "PYTHONPATH": str(paths.PROJECT / "wrapper"),
            "COLUMNS": "80",
            "TERMINAL_WIDTH": "80",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "PYTHONIOENCODING": "utf-8",
        },
        check=True,
    ).stdout.replace("python -m crm_migrate", "crm-migrate")
    text = "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    file = GOLDEN / f"{page}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
