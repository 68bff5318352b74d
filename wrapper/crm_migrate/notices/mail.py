"""The mail server: one connection for several mails, verified TLS, and a limit to every wait."""

from __future__ import annotations

import contextlib
import email.policy
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from types import TracebackType
from typing import Self

from crm_migrate import redaction
from crm_migrate.errors import ConfigurationError
from crm_migrate.notices import recipients
from crm_migrate.settings import Settings

POLICY = email.policy.SMTP
_LONGEST_REASON = 300
_SERVICE_NOT_AVAILABLE = 421


class MailServerFails(Exception):
    """Nobody can be written to at the moment; worth another try later."""


class MailServerDown(MailServerFails):
    """It is not there or does not let us in: it cannot have taken the mail."""


class Refused(Exception):
    """The server refuses this mail.

    Args:
        permanent: another try would end the same way.
    """

    def __init__(self, why: str, *, permanent: bool) -> None:
        super().__init__(why)
        self.permanent = permanent


def sender(settings: Settings) -> Address:
    """The sender of the notices.

    Raises:
        ConfigurationError: there is none, or it is no address.
    """
    return _address(settings, "mail_from")


def reply_to(settings: Settings) -> Address | None:
    """Where answers go, when the settings name it."""
    return _address(settings, "mail_reply_to") if settings.mail_reply_to else None


def _address(settings: Settings, name: str) -> Address:
    given = str(getattr(settings, name))
    shown, address = parseaddr(given)
    try:
        if not given.isprintable():
            raise ValueError("it holds control characters")
        local, _, domain = recipients.clean_address(address).rpartition("@")
        return Address(recipients.clean_name(shown), username=local, domain=domain)
    except ValueError as error:
        raise ConfigurationError(
            f"The setting {name} is not an address: {given!r}.",
            why=str(error),
            next=f'{name} = "CRM team <crm@example.com>" in crm-migrate.toml',
        ) from None


class MailServer:
    """The mail server of the settings; connects when the first mail is sent.

    Raises:
        ConfigurationError: no host, an unknown kind of TLS, an unreadable file, or a password that would travel openly.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: smtplib.SMTP | None = None
        if not settings.smtp_host:
            raise ConfigurationError(
                "No mail server is set.", next="smtp_host, smtp_port and mail_from in crm-migrate.toml"
            )
        if settings.smtp_tls not in ("starttls", "tls", "none"):
            raise ConfigurationError(
                f"smtp_tls cannot be {settings.smtp_tls!r}.", next="smtp_tls = starttls, tls or none"
            )
        self._password = _password(settings)
        redaction.remember(self._password)
        if settings.smtp_user and settings.smtp_tls == "none" and not _loopback(settings.smtp_host):
            raise ConfigurationError(
                "The password would reach the mail server unencrypted.", next="smtp_tls = starttls or tls"
            )
        self._context = _context(settings) if settings.smtp_tls != "none" else None
        self.sender = sender(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye, if there is anybody to say it to."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException), self._no_longer_than(client):
                client.quit()
            client.close()

    def send(self, message: EmailMessage, address: str) -> None:
        """Hand over one mail.

        Raises:
            MailServerFails: the server is not there, does not let us in, or went away.
            Refused: it does not want this mail.
        """
        client = self._client or self._connect()
        try:
            with self._no_longer_than(client):
                client.send_message(message, self.sender.addr_spec, [address])
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            self._refused(code, said, address)
        except smtplib.SMTPSenderRefused as error:
            self.close()
            raise MailServerFails(f"the sender is refused: {self._told(error.smtp_code, error.smtp_error)}") from None
        except smtplib.SMTPDataError as error:
            self._refused(error.smtp_code, error.smtp_error, address)
        except smtplib.SMTPNotSupportedError:
            raise Refused("the mail server does not take international addresses", permanent=True) from None
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise MailServerFails(self._reason(error)) from None

    def _refused(self, code: int, said: bytes | str, address: str) -> None:
        why = self._told(code, said).replace(address, "…")
        if code == _SERVICE_NOT_AVAILABLE:
            self.close()
            raise MailServerFails(why) from None
        raise Refused(why, permanent=code >= 500) from None

    def _connect(self) -> smtplib.SMTP:
        settings, limit = self._settings, self._settings.smtp_timeout
        client: smtplib.SMTP = (
            smtplib.SMTP_SSL(timeout=limit, context=self._context)
            if settings.smtp_tls == "tls"
            else smtplib.SMTP(timeout=limit)
        )
        # connecting by a call of its own lets the limit hold for the greeting too; the certificate is verified for this
        # name, which smtplib takes from its constructor only
        client._host = settings.smtp_host  # type: ignore[attr-defined]
        try:
            with self._no_longer_than(client):
                code, said = client.connect(settings.smtp_host, settings.smtp_port)
                if code != 220:
                    raise smtplib.SMTPConnectError(code, said)
                if settings.smtp_tls == "starttls":
                    client.starttls(context=self._context)
                if settings.smtp_user:
                    client.login(settings.smtp_user, self._password)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            client.close()
            raise MailServerDown(self._reason(error)) from None
        self._client = client
        return client

    @contextmanager
    def _no_longer_than(self, client: smtplib.SMTP) -> Iterator[None]:
        """A server that answers a letter at a time never runs into the socket's own timeout: hang up on it."""
        passed = threading.Event()

        def hang_up() -> None:
            passed.set()
            if client.sock is not None:
                with contextlib.suppress(OSError):
                    client.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._settings.smtp_timeout, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, smtplib.SMTPException):
            if passed.is_set():
                raise TimeoutError("timed out") from None
            raise
        finally:
            timer.cancel()

    def _reason(self, error: Exception) -> str:
        settings = self._settings
        where = f"{settings.smtp_host}:{settings.smtp_port}"
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return f"{where} refuses the login: {self._told(error.smtp_code, error.smtp_error)}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of {where} is not trusted: {error.verify_message}"
        if isinstance(error, TimeoutError):
            return f"{where} did not answer within {settings.smtp_timeout:g} s"
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return f"{where} does not offer what the settings ask for: {error}"
        if isinstance(error, smtplib.SMTPResponseException):
            return f"{where} answers {self._told(error.smtp_code, error.smtp_error)}"
        return f"{where}: {self._redacted(str(error) or type(error).__name__)}"

    def _told(self, code: int, said: bytes | str) -> str:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        return self._redacted(f"{code} {text}")

    def _redacted(self, text: str) -> str:
        return " ".join(redaction.redacted(text).split())[:_LONGEST_REASON]


def _password(settings: Settings) -> str:
    if settings.smtp_password or not settings.smtp_password_file:
        return settings.smtp_password
    try:
        return Path(settings.smtp_password_file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The file {settings.smtp_password_file} with the mail server's password cannot be read.",
            why=getattr(error, "strerror", None) or type(error).__name__,
            next="smtp_password_file, or CRM_MIGRATE_SMTP_PASSWORD",
        ) from None


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.smtp_ca_file or None)
    except OSError as error:
        raise ConfigurationError(
            f"The file {settings.smtp_ca_file} is no certificate authority.", why=str(error), next="smtp_ca_file"
        ) from None


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
