"""Figures as they are measured: numbers by name, in as many levels as they need; and what becomes of several rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Figures = dict[str, Any]


def median(rounds: Sequence[Figures]) -> Figures:
    """The medians of the numbers, by name; what is no number is taken from the first round.

    A number that a round does not have, such as a model too small to be told, counts as 0 there.
    """
    names = list(dict.fromkeys(name for figures in rounds for name in figures))
    return {name: _middle([figures[name] for figures in rounds if name in figures], len(rounds)) for name in names}


def _middle(values: Sequence[Any], rounds: int) -> Any:
    if all(isinstance(value, dict) for value in values):
        return median(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return statistics.median([*values, *[0] * (rounds - len(values))])
    return values[0]
