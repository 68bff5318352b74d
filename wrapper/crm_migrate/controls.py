"""Control characters: the texts of a database are strangers' texts, and none of them may command a terminal."""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1 (where 9B alone starts a command), and what turns the direction of a line
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def written_out(text: str) -> str:
    """The text with its control characters as `\\x1b`, for people."""
    return _CONTROLS.sub(lambda found: ascii(found.group())[1:-1], text)


def written_out_in_json(document: str) -> str:
    """A JSON document that says the same without control characters; JSON itself escapes those of C0 only."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", document)
