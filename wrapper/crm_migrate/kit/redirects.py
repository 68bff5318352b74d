"""Redirect rules from the pages of deals to those of opportunities, for the servers in front of the application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from crm_migrate.kit.templates import render

OLD, NEW = "/deals", "/opportunities"


@dataclass(frozen=True)
class Status:
    """Which redirect is safe: a browser keeps a permanent one, and a rollback must send people back."""

    permanent: bool
    switch_at: datetime | None

    @property
    def code(self) -> int:
        """The status for nginx and Vercel."""
        return 308 if self.permanent else 307

    @property
    def sentence(self) -> str:
        """What the files say about it."""
        if self.permanent:
            return "Permanent: the rollback window is closed."
        when = f"{self.switch_at:%Y-%m-%d %H:%M} UTC" if self.switch_at else "the end of the rollback window"
        return f"Temporary until {when}: then run crm-migrate kit again and publish the permanent ones."


def status(now: datetime, rollback_until: datetime | None) -> Status:
    """308 when nobody can roll back any more by the server's clock; else a temporary one, and when to switch."""
    return Status(rollback_until is not None and now >= rollback_until, rollback_until)


def files(state: Status) -> Mapping[str, str]:
    """The rules by file name."""
    values = {"state": state, "old": OLD, "new": NEW}
    return {
        "redirects/nginx.conf": render("nginx.conf.j2", **values),
        "redirects/_redirects": render("netlify.j2", **values),
        "redirects/vercel.json": _vercel(state),
        "redirects/DealsRedirect.tsx": render("react_router.j2", **values),
    }


def _vercel(state: Status) -> str:
    # Vercel answers 308 to a permanent one and 307 to another; its file knows no comments
    rules = [
        {"source": OLD, "destination": NEW, "permanent": state.permanent},
        {"source": f"{OLD}/:rest*", "destination": f"{NEW}/:rest*", "permanent": state.permanent},
    ]
    return json.dumps({"redirects": rules}, indent=2) + "\n"
