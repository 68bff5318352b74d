"""The templates of the web pages, and where their files are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment

from crm_migrate.report_html import environment

STATIC = Path(__file__).parent / "static"
_MOMENT = re.compile(r"[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+\d\d:\d\d")


def _templates() -> Environment:
    made = environment("web/templates")
    made.filters["utc"] = _utc
    made.filters["moment"] = _moment
    return made


def _utc(moment: datetime, seconds: bool = False) -> str:
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC" if seconds else f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def _moment(text: str | None) -> str | None:
    """A time as JSON has it, for people; any other text, a date beyond the calendar too, as it is."""
    if text is None or not _MOMENT.fullmatch(text):
        return text
    return _utc(datetime.fromisoformat(text).astimezone(UTC))


_TEMPLATES = _templates()


def text(template: str, **values: Any) -> str:
    """The text of a template, everything in it escaped."""
    return _TEMPLATES.get_template(template).render(**values)


def page(template: str, *, code: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A page as an answer."""
    return HTMLResponse(text(template, **values), status_code=code, headers=headers)
