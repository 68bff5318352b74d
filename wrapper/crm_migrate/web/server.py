"""The server: one process, one address, and nothing of a request in any log."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from crm_migrate.errors import UsageError
from crm_migrate.settings import Settings
from crm_migrate.web import app

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# a proxy on this machine may say that its client came by TLS
_OWN_PROXIES = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """Where the pages are. `review` holds the token: it is shown once, to the one who started the server."""

    url: str
    review: str
    public: bool


def serve(
    settings: Settings, *, host: str, port: int, ready: Callable[[Address], None], proxies: Sequence[str] = ()
) -> None:
    """Serve until interrupted.

    Args:
        port: 0 takes a free one.
        ready: told the address as soon as it is taken.
        proxies: addresses or networks of proxies that are believed besides those of this machine.

    Raises:
        UsageError: the address cannot be taken, or a proxy's is none.
        ConnectionFailed: the database does not answer.
    """
    for proxy in proxies:
        _require_address(proxy)
    token = secrets.token_urlsafe(32)
    application = app.create(settings, token=token)
    with _listen(host, port) as listening:
        taken = listening.getsockname()[1]
        url = f"http://{f'[{host}]' if ':' in host else host}:{taken}"
        ready(Address(f"{url}/", f"{url}/review?token={token}", public=host not in _LOOPBACK))
        with contextlib.suppress(KeyboardInterrupt):
            server_of(application, proxies=proxies).run(sockets=[listening])


def server_of(application: FastAPI, *, proxies: Sequence[str] = ()) -> uvicorn.Server:
    """The server of an application; without an access log, since an administrator's first address has the token."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            port=0,
            access_log=False,
            log_config=None,
            server_header=False,
            # X-Forwarded-Proto of these only; set here, so that no variable of the environment widens it
            proxy_headers=True,
            forwarded_allow_ips=[*_OWN_PROXIES, *proxies],
            timeout_graceful_shutdown=1,
        )
    )


def _require_address(proxy: str) -> None:
    try:
        is_everybody = ipaddress.ip_network(proxy).prefixlen == 0
    except ValueError:
        is_everybody = True
    if is_everybody:
        raise UsageError(
            f"{proxy!r} is not the address of a proxy.",
            why="What it says of its clients is believed, so it is named by its address or network.",
            next="--proxy 10.0.0.5, or --proxy 10.0.0.0/24",
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
