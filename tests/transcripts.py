"""Transcripts in the documentation: what a test made the program say, and nothing else.

A test provokes something and hands over what the program said: `told("killed", "crm-migrate status", output)`. The
block of that name in the documentation must say the same but for what differs between two runs: names of runs and
databases, times, durations, counts, process ids. `CRM_WRITE_TRANSCRIPTS=1 make test` writes the blocks anew.
"""

from __future__ import annotations

import fcntl
import os
import re
import textwrap
from collections import Counter
from pathlib import Path

from crm_migrate import paths

WHAT_IF = paths.PROJECT / "docs" / "what-if.md"
WRITE = "CRM_WRITE_TRANSCRIPTS"

# what an operator would see instead of the names that a test has
_TIDY = (
    (r"\x1b\[[0-9;]*m", ""),
    # a slow machine says more often how far it is
    (r"(?m)^ +\w+: (at work|.*batch \d+/\d+.*)\n", ""),
    (r"(?m)^.*resource_tracker.*\n.*warnings\.warn.*\n?", ""),
    (r"(?m)^CPU .*\n", ""),
    # each of its processes says it, or does not
    (r"( pg_dump: terminated by user)+", ""),
    (r"killed at .*\n?", "Killed\n"),
    (r"\b20\d{6}-\d{6}-[0-9a-f]{4}\b", "20261128-220000-5e1f"),
    (r"\b20\d\d-\d\d-\d\d \d\d:\d\d", "2026-11-28 22:00"),
    (r"\b20\d\d-\d\d-\d\d\b", "2026-11-28"),
    (r"\btest_\d+(_\w+)?\b", "crm"),
    (r"\S+/bin/(pg_\w+)", r"/usr/lib/postgresql/18/bin/\1"),
    (r"/[^\s:,;']*?/(work/|seeds/)", "/srv/crm/"),
    (r"/tmp/[^\s:,;']+", "/srv/crm/scratch"),
    (r"\bby (\w+) on [\w.-]+", "by anna on ops-1"),
    (r"\bsession \d+ \(\w+", "session 4711 (reporting"),
    (r"\bprocess \d+", "process 4711"),
    (r"\bport \d+", "port 5432"),
)


def tidy(text: str) -> str:
    """The text as it is shown to a reader: names that tell nothing replaced, long lines wrapped."""
    for pattern, replacement in _TIDY:
        text = re.sub(pattern, replacement, text)
    lines: list[str] = []
    for line in text.strip("\n").splitlines():
        indented = " " * 9 if line.startswith("  ") else ""
        lines += textwrap.wrap(line, 110, subsequent_indent=indented, break_on_hyphens=False) or [""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines))


def same(one: str, other: str) -> bool:
    """Whether two texts differ at most in numbers, rulers, wrapping, and in the order of what was done side by side."""
    return _words(one) == _words(other)


def told(name: str, command: str, said: str, *, document: Path = WHAT_IF) -> None:
    """Hold a transcript of the documentation against what the program said just now."""
    shown = f"$ {command}\n{tidy(said)}"
    before, block, after = _around(name, document.read_text(encoding="utf-8"))
    if os.environ.get(WRITE):
        with document.open("r+", encoding="utf-8") as file:
            # tests run side by side
            fcntl.flock(file, fcntl.LOCK_EX)
            before, _, after = _around(name, file.read())
            file.seek(0)
            file.write(f"{before}```console\n{shown}\n```\n{after}")
            file.truncate()
        return
    written = block.strip().removeprefix("```console").removesuffix("```").strip()
    assert same(written, shown), f"{document.name} shows of {name!r}:\n{written}\n\nbut the program said:\n{shown}"


def _around(name: str, text: str) -> tuple[str, str, str]:
    begin = f"<!-- transcript: {name} -->\n"
    assert text.count(begin) == 1, f"the documentation has no single place for the transcript {name!r}"
    before, rest = text.split(begin)
    block, end, after = rest.partition("<!-- end -->")
    assert end, f"the transcript {name!r} does not end"
    return before + begin, block, end + after


def _words(text: str) -> Counter[str]:
    return Counter(re.sub(r"[\d,.]*\d", "N", re.sub(r"[─━╌-]{2,}", " ", text)).split())
