"""The banner that the application itself may show above its pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, Field

from crm_migrate.web.public_status import PublicStatus

Kind = Literal["info", "warning", "maintenance", "success"]

_SHOW_BEFORE = timedelta(hours=2)
_WARN_BEFORE = timedelta(minutes=30)
_SHOW_AFTER = timedelta(hours=48)


class Banner(BaseModel):
    """What to show, if anything. Texts are plain text, never HTML."""

    show: bool = Field(description="Whether there is anything to show now.")
    kind: Kind | None = Field(None, description="How it looks; maintenance: nobody can write.")
    state: str = Field(description="The state of /api/status.")
    message: str | None = Field(None, description="One or two sentences for people.")
    starts_at: datetime | None = Field(None, description="When the downtime starts, or has started.")
    ends_at: datetime | None = Field(None, description="When it is expected to be over, as far as that is known.")
    countdown_seconds: int | None = Field(None, description="Until the start when it is planned, until the end after.")
    refresh_seconds: int = Field(description="Ask again after so many seconds.")


def of(status: PublicStatus) -> Banner:
    """The banner for a state: from two hours before the start until two days after the end."""
    now = status.updated_at
    if status.state in ("scheduled", "delayed") and status.planned_start is not None and not status.closed:
        left = status.planned_start - now
        if left > _SHOW_BEFORE:
            return _nothing(status, refresh=60)
        last_call = left <= _WARN_BEFORE
        return Banner(
            show=True,
            kind="warning" if last_call else "info",
            state=status.state,
            message="The CRM closes soon to move to its new version. Please save your work."
            if last_call
            else "Today the CRM moves to its new version. Nobody can work in it meanwhile.",
            starts_at=status.planned_start,
            ends_at=status.planned_end,
            countdown_seconds=max(0, round(left.total_seconds())),
            refresh_seconds=15 if last_call else 60,
        )
    if status.closed or status.state in ("in_progress", "verifying"):
        ends = now + timedelta(seconds=status.eta_seconds) if status.eta_seconds is not None else None
        return Banner(
            show=True,
            kind="maintenance",
            state=status.state,
            message=f"{status.headline}. {status.message}",
            starts_at=status.started_at,
            ends_at=ends or status.planned_end,
            countdown_seconds=status.eta_seconds,
            refresh_seconds=5,
        )
    if status.state == "delayed" or (
        status.state in ("completed", "rolled_back")
        and status.finished_at is not None
        and now - status.finished_at < _SHOW_AFTER
    ):
        return Banner(
            show=True,
            kind="success" if status.state == "completed" else "info",
            state=status.state,
            message=f"{status.headline}. {status.message}",
            starts_at=status.started_at,
            ends_at=status.finished_at,
            countdown_seconds=None,
            refresh_seconds=300,
        )
    return _nothing(status, refresh=300)


def _nothing(status: PublicStatus, *, refresh: int) -> Banner:
    return Banner(
        show=False,
        kind=None,
        state=status.state,
        message=None,
        starts_at=status.planned_start,
        ends_at=status.planned_end,
        countdown_seconds=None,
        refresh_seconds=refresh,
    )
