"""Text of other people on a terminal: what it cannot show, or would obey, is written out."""

from __future__ import annotations

import rich.text

_JOINERS = {"\u200c", "\u200d"}  # part of many scripts and of emoji, and harmless


def visible(text: object, *, limit: int | None = None, lines: bool = False) -> str:
    """The text with every character that is no letter, sign or space as its escape.

    Escape sequences would move the cursor or forge output, marks of direction would turn a line around.

    Args:
        limit: shorten to so many characters.
        lines: keep the ends of lines.
    """
    whole = str(text)
    cut = whole if limit is None or len(whole) <= limit else whole[:limit]
    shown = "".join(letter if letter == "\n" and lines else _one(letter) for letter in cut)
    return shown if cut is whole else f"{shown}... ({len(whole):,} characters)"


class Text(rich.text.Text):
    """The same for a console, without markup."""

    def __init__(self, value: object = "", style: str = "") -> None:
        super().__init__(visible(value), style)


def _one(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
