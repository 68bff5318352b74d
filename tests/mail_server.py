"""A real mail server for tests, which can be told how to misbehave."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Mailbox:
    """What arrived, and how the server answers: `answers` are used up one by one, then it takes everything.

    An answer is the text of a reply, seconds to wait before the mail is taken, or `drop`: take it and hang up silently.
    """

    answers: list[str | float] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Reply to RCPT TO by address."""
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    was_encrypted: set[bool] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802  # the names are aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        elif answer and answer != "drop":
            return answer
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(email.message_from_bytes(content, policy=email.policy.SMTP))
        self.recipients += envelope.rcpt_tos
        self.was_encrypted.add(session.ssl is not None)
        if answer == "drop":
            assert server.transport is not None
            server.transport.close()
        return "250 taken"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password == b"s3cret-m4rker", handled=False)


@contextmanager
def mail_server(
    mailbox: Mailbox, *, certificate: tuple[Path, Path] | None = None, auth: bool = False, port: int = 0
) -> Iterator[int]:
    """Runs a server for the mailbox; gives its port.

    Args:
        certificate: its certificate and key, for STARTTLS.
        auth: it wants a login.
    """
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        auth_required=auth,
        authenticator=mailbox.authenticate if auth else None,
        enable_SMTPUTF8=True,
        ready_timeout=30,
    )
    # the controller of aiosmtpd looks for itself under the port that it was given
    controller.port = port or _free_port()
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A certificate for this name that signs itself: the file is its own authority."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
        f" -addext subjectAltName=DNS:{name} -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return certificate, key
