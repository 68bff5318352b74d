"""The fenced blocks of a guide: commands that are run as they stand, and edits that are made as they are shown.

An edit is a block of the kind `diff`: the file's name after `---`, then its lines with a blank, `-` or `+` in front.
The lines with a blank or `-` say where; they must be there once. With `+` alone it goes to the end of the file.
"""

from __future__ import annotations

import re
from pathlib import Path


def blocks(document: Path, kind: str) -> list[str]:
    """The blocks of one kind, in their order, without transcripts."""
    text = re.sub(r"<!-- transcript: .*?<!-- end -->", "", document.read_text(encoding="utf-8"), flags=re.S)
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.S | re.M)


def commands(document: Path) -> list[str]:
    """Every command of the guide's consoles, in their order, without remarks."""
    lines = "".join(blocks(document, "console")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


def edit(folder: Path, shown: str) -> Path:
    """Make an edit that a guide shows, in a copy of the project; returns the file."""
    head, _, body = shown.partition("\n")
    assert head.startswith("--- "), f"the edit does not name its file: {head!r}"
    file = folder / head.removeprefix("--- ")
    before, after = _side(body, " -"), _side(body, " +")
    lines = file.read_text(encoding="utf-8").splitlines()
    places = [at for at in range(len(lines)) if lines[at : at + len(before)] == before] if before else [len(lines)]
    assert len(places) == 1, f"{file.name} has no single place for:\n{shown}"
    lines[places[0] : places[0] + len(before)] = after
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _side(body: str, marks: str) -> list[str]:
    return [line[1:] for line in body.splitlines() if line and line[0] in marks]
