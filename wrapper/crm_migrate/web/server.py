"""The server: one process, one address, and nothing of a request in any log."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from crm_migrate.errors import UsageError
from crm_migrate.settings import Settings
from crm_migrate.web import app

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Address:
    """Where the pages are. `review` holds the token: it is shown once, to the one who started the server."""

    url: str
    review: str
    public: bool


def serve(settings: Settings, *, host: str, port: int, ready: Callable[[Address], None]) -> None:
    """Serve until interrupted.

    Args:
        port: 0 takes a free one.
        ready: told the address as soon as it is taken.

    Raises:
        UsageError: the address cannot be taken.
        ConnectionFailed: the database does not answer.
    """
    token = secrets.token_urlsafe(32)
    application = app.create(settings, token=token)
    with _listen(host, port) as listening:
        taken = listening.getsockname()[1]
        url = f"http://{f'[{host}]' if ':' in host else host}:{taken}"
        ready(Address(f"{url}/", f"{url}/review?token={token}", public=host not in _LOOPBACK))
        with contextlib.suppress(KeyboardInterrupt):
            server_of(application).run(sockets=[listening])


def server_of(application: FastAPI) -> uvicorn.Server:
    """The server of an application; without an access log, since an administrator's first address has the token."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            port=0,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"The address {host}:{port} cannot be taken.",
            why=getattr(error, "strerror", None) or str(error),
            next="crm-migrate serve --port 0 takes a free port.",
        ) from None
    return listening
