"""The mails themselves: one template per event, written out as text and as HTML, so that both say the same."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from crm_migrate.errors import ConfigurationError
from crm_migrate.notices import mail, outbox, recipients
from crm_migrate.settings import Settings

_WIDTH = 72
_EVERYBODY = "everybody who has an account in"
_AUDIENCE = dict.fromkeys(outbox.FOR_ADMINISTRATORS, "every administrator of")
_LONGEST_SUBJECT = 200


@dataclass(frozen=True)
class Letter:
    """A notice for one person."""

    subject: str
    text: str
    html: str


class Letters:
    """Writes the notices of this installation.

    Raises:
        ConfigurationError: an address of a page that no browser should open.
    """

    def __init__(self, settings: Settings) -> None:
        for name in ("status_url", "whats_new_url"):
            given = str(getattr(settings, name))
            if given and not given.startswith(("https://", "http://")):
                raise ConfigurationError(f"{name} is not the address of a page: {given!r}.", next="https://…")
        crm = recipients.clean_name(settings.crm_name) or "the CRM"
        self._words = {
            "crm": crm,
            "Crm": crm[:1].upper() + crm[1:],
            "status_url": settings.status_url,
            "whats_new_url": settings.whats_new_url,
            "can_answer": bool(settings.mail_reply_to),
        }
        self._text = _environment(autoescape=False)
        self._html = _environment(autoescape=True)

    def write(self, event: str, facts: Mapping[str, Any], name: str) -> Letter:
        """The notice of an event for the person of this name."""
        values = {**self._words, **facts, "name": name, "audience": _AUDIENCE.get(event, _EVERYBODY)}
        text = self._text.get_template(f"{event}.j2")
        subject = recipients.clean_name(_block(text, "subject", values | {"form": "text.j2"}), _LONGEST_SUBJECT)
        values["subject"] = subject
        return Letter(
            subject,
            re.sub(r"\n{3,}", "\n\n", text.render(values | {"form": "text.j2"})).strip() + "\n",
            self._html.get_template(f"{event}.j2").render(values | {"form": "html.j2"}),
        )


def message(
    letter: Letter,
    *,
    sender: Address,
    reply_to: Address | None,
    recipient: str,
    name: str,
    message_id: str,
    at: datetime,
) -> EmailMessage:
    """The letter as a mail.

    Args:
        name: of the recipient; whatever it holds, it stays inside its header.
        at: the time in its header.
    """
    made = EmailMessage(policy=mail.POLICY)
    made["From"] = sender
    local, _, domain = recipient.rpartition("@")
    made["To"] = Address(name, username=local, domain=domain)
    if reply_to is not None:
        made["Reply-To"] = reply_to
    made["Subject"] = letter.subject
    made["Date"] = format_datetime(at)
    made["Message-ID"] = message_id
    # nobody's answering machine answers, and it comes back to nobody as a bounce of a bounce
    made["Auto-Submitted"] = "auto-generated"
    made["X-Auto-Response-Suppress"] = "All"
    made["Content-Language"] = "en"
    made.set_content(letter.text, cte="quoted-printable")
    made.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    return made


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("crm_migrate", "notices/templates"),
        autoescape=autoescape,  # noqa: S701  # off for the text alternative only
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["counted"] = lambda value, one, many: f"{value:,} {one if value == 1 else many}"
    environment.filters["paragraph"] = lambda value: textwrap.fill(
        " ".join(str(value).split()), _WIDTH, break_long_words=False, break_on_hyphens=False
    )
    environment.filters["bullet"] = lambda value: textwrap.fill(
        " ".join(str(value).split()),
        _WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return environment


def _block(template: Template, name: str, values: Mapping[str, Any]) -> str:
    return "".join(template.blocks[name](template.new_context(dict(values))))
