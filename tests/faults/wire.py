"""A network between the program and its server that can be cut at a chosen message, or hang without a reset."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crm_migrate.server import EmbeddedServer

_ENCRYPTION = {80877103, 80877104}
_QUERY, _PARSE, _READY = b"Q", b"P", b"Z"


@dataclass
class Link:
    """One connection through the network: what its client asked for so far."""

    client: socket.socket
    server: socket.socket
    said: list[str] = field(default_factory=list)
    cut_when_ready: bool = False

    def close(self) -> None:
        """Cut both ends."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


Moment = Callable[[Link, str], bool]


class Network:
    """Passes everything on, until a statement comes for which `cut_at` or `hang_at` waits."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._to = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._links: list[Link] = []
        self._moving = threading.Event()
        self._moving.set()
        self._guard = threading.Lock()
        self._cut_at: Moment | None = None
        self._hang_at: Moment | None = None
        self.happened = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, moment: Moment) -> None:
        """Cut the connection once: when the server has done this statement, before its answer comes back."""
        self._cut_at = moment

    def hang_at(self, moment: Moment) -> None:
        """From this statement on nothing is passed on, on no connection; nothing is closed either."""
        self._hang_at = moment

    def heal(self) -> None:
        """Connections that hung are gone; new ones work."""
        for link in self._links:
            link.close()
        self._links.clear()
        self._moving.set()

    def close(self) -> None:
        """End everything."""
        self._listening.close()
        self.heal()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            self._moving.wait()
            startup = _startup(client)
            server = socket.create_connection(("127.0.0.1", self._to.port))
        except OSError:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # the server is down
            client.close()
            return
        link = Link(client, server)
        self._links.append(link)
        for end in (client, server):
            # every message is sent by itself, and must not wait for the answer to the one before
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            server.sendall(startup)
            threading.Thread(target=self._answers, args=(link,), daemon=True).start()
            incoming = client.makefile("rb")
            while True:
                kind, message = _message(incoming)
                if kind in (_QUERY, _PARSE):
                    self._look_at(link, kind, message)
                self._moving.wait()
                server.sendall(message)
        except OSError:
            link.close()

    def _look_at(self, link: Link, kind: bytes, message: bytes) -> None:
        text = message[5:].split(b"\0")[0 if kind == _QUERY else 1].decode(errors="replace")
        with self._guard:
            link.said.append(text)
            if self._cut_at is not None and self._cut_at(link, text):
                self._cut_at = None
                link.cut_when_ready = True
            if self._hang_at is not None and self._hang_at(link, text):
                self._hang_at = None
                self._moving.clear()
                self.happened.set()

    def _answers(self, link: Link) -> None:
        try:
            incoming = link.server.makefile("rb")
            while True:
                kind, message = _message(incoming)
                self._moving.wait()
                if not link.cut_when_ready:
                    link.client.sendall(message)
                elif kind == _READY:
                    self.happened.set()
                    break
        except OSError:
            pass
        link.close()


@contextmanager
def network(server: EmbeddedServer) -> Iterator[Network]:
    """A network to the server, wherever it listens at the moment."""
    between = Network(server)
    try:
        yield between
    finally:
        between.close()


def after(*words: str, then: str = "commit") -> Moment:
    """The first statement that begins with `then` on a connection on which all these words have been said."""

    def moment(link: Link, text: str) -> bool:
        return text.strip().lower().startswith(then) and all(
            any(word in earlier for earlier in link.said) for word in words
        )

    return moment


def saying(*words: str) -> Moment:
    """The first statement that has all these words."""
    return lambda link, text: all(word in text for word in words)


def _startup(client: socket.socket) -> bytes:
    # unbuffered: nothing of what comes after it may be read here
    incoming = client.makefile("rb", buffering=0)
    while True:
        head = _exactly(incoming, 8)
        length, code = struct.unpack("!II", head)
        if code in _ENCRYPTION:
            client.sendall(b"N")
            continue
        return head + _exactly(incoming, length - 8)


def _message(incoming: io.BufferedIOBase | io.RawIOBase) -> tuple[bytes, bytes]:
    head = _exactly(incoming, 5)
    return head[:1], head + _exactly(incoming, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(incoming: io.BufferedIOBase | io.RawIOBase, count: int) -> bytes:
    read = bytearray()
    while len(read) < count:
        more = incoming.read(count - len(read))
        if not more:
            raise OSError("closed")
        read += more
    return bytes(read)
