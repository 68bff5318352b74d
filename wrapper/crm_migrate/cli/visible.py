"""Text of other people on a terminal: what it cannot show, or would obey, is written out."""

from __future__ import annotations

_JOINERS = {"‌", "‍"}  # part of many scripts and of emoji, and harmless


def visible(text: object, *, limit: int | None = None) -> str:
    """The text with every character that is no letter, sign or space as its escape; shortened to `limit` characters.

    Escape sequences would move the cursor or forge output, marks of direction would turn a line around.
    """
    whole = str(text)
    cut = whole if limit is None or len(whole) <= limit else whole[:limit]
    shown = "".join(_one(letter) for letter in cut)
    return shown if cut is whole else f"{shown}... ({len(whole):,} characters)"


def _one(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
