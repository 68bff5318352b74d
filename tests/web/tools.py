"""The programs that the web tests need: a Chromium, and the accessibility check."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"


def browser_program(own: str) -> str:
    """The Chromium to use: the one on the PATH, else the one that Playwright downloaded."""
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return found
    if Path(own).exists():
        return own
    pytest.fail(f"There is no browser for the web tests: none of {', '.join(_NAMES)} is on the PATH. sh .ci/browser")


def axe_script() -> str:
    """The text of axe-core."""
    if not _AXE.exists():
        pytest.fail("axe-core is not installed for the accessibility tests: sh .ci/browser (it needs npm)")
    return _AXE.read_text(encoding="utf-8")
