"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Check:
    """What was looked at and what it says; the severity tells how bad it is when it is not ok."""

    id: str
    ok: bool
    severity: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, id: str, ok: bool, good: str, bad: str, hint: str, *, severity: str = "blocker") -> Self:
        """A check with a sentence for either case."""
        return cls(id, ok, severity, good if ok else bad, "" if ok else hint)

    @classmethod
    def failed(cls, id: str, message: str, hint: str) -> Self:
        """A check that stands in the way."""
        return cls(id, False, "blocker", message, hint)

    def as_json(self) -> dict[str, Any]:
        """For the doctor's JSON document."""
        return asdict(self)
