"""Whether the server still answers: a network that hangs without a reset ends, and keeps no run waiting for ever.

Keepalives find a peer whose machine or cable is gone. They do not find one behind a proxy or a load balancer that takes
every packet and hands none on. So a session of its own asks a question now and then; when there is no answer for
`network_timeout` seconds, every connection of this process to that server is shut, and whatever waits on one fails.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from types import TracebackType

import psutil
import psycopg

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError
from crm_migrate.settings import Settings

_QUESTIONS = 4  # within the time in which one must be answered
_CHILDREN = ("pg_dump", "pg_restore")


class Pulse:
    """Watches the network while the block runs; does nothing on a socket of this machine, which cannot hang."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        if self._settings.network_timeout:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        peer: tuple[str, int] | None = None
        heard = time.monotonic()
        while not self._over.is_set():
            # a server that refuses or restarts has ended the other connections itself
            with contextlib.suppress(psycopg.Error, MigrationError), self._connection() as connection:
                heard = time.monotonic()
                if not connection.info.hostaddr:
                    return
                peer = (connection.info.hostaddr, connection.info.port)
                while self._answers(connection, heard):
                    heard = time.monotonic()
                    if self._over.wait(self._settings.network_timeout / _QUESTIONS):
                        return
            if peer is not None and time.monotonic() - heard >= self._settings.network_timeout:
                if not self._over.is_set():
                    cut(peer)
                return
            self._over.wait(self._settings.network_timeout / _QUESTIONS)

    def _connection(self) -> Connection:
        return database.connect(self._settings, application="crm-migrate pulse")

    def _answers(self, connection: Connection, heard: float) -> bool:
        asked = connection.pgconn
        asked.send_query(b"select 1")
        asked.flush()
        waiting = select.poll()
        waiting.register(asked.socket, select.POLLIN)
        while (left := heard + self._settings.network_timeout - time.monotonic()) > 0 and not self._over.is_set():
            if not waiting.poll(min(left, 0.5) * 1000):
                continue
            asked.consume_input()
            # each time: get_result would wait for what has not come, and keep every thread of Python waiting with it
            while not asked.is_busy():
                if asked.get_result() is None:
                    return True
        return False


def cut(peer: tuple[str, int]) -> None:
    """Shut every connection of this process to the peer, and end the programs that have their own."""
    process = psutil.Process()
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name() in _CHILDREN:
                # a softer end would wait for the server, too
                child.kill()
    for found in process.net_connections(kind="tcp"):
        if found.raddr and (found.raddr.ip, found.raddr.port) == peer and found.fd >= 0:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(found.fd)) as shared:
                shared.shutdown(socket.SHUT_RDWR)
