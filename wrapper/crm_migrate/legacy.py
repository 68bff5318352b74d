"""Which legacy database is this: its generation, and what the installation added to it."""

from __future__ import annotations

from enum import StrEnum


class Generation(StrEnum):
    """The two shapes of the legacy schema that are in production."""

    G2025 = "2025"
    G2026 = "2026"
