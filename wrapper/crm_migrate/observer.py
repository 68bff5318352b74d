"""What a run tells whoever watches it: a terminal, a log, a test."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told by the steps; must not fail and must not change anything."""

    def run_started(self, run_id: str, kind: str, resumed: bool) -> None:
        """A run starts, or goes on."""

    def step_started(self, name: str) -> None:
        """A step of the run starts."""

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        """A step of the run is done."""

    def say(self, text: str) -> None:
        """One line worth knowing."""


class Silent:
    """Watches nothing."""

    def run_started(self, run_id: str, kind: str, resumed: bool) -> None:
        """Ignore it."""

    def step_started(self, name: str) -> None:
        """Ignore it."""

    def step_done(self, name: str, seconds: float, rows: int | None) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""
