"""A transaction pooler in miniature: each transaction of a client goes to another session of the server."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENCRYPTION = {80877103, 80877104}
_STARTUP = 196608
_TERMINATE, _READY, _IDLE = b"X", b"Z", b"I"
# after these the server answers until it is ready for the next query
_ANSWERED = {b"Q", b"S"}


@contextmanager
def transaction_pooler(host: str, port: int, *, sessions: int = 2) -> Iterator[int]:
    """Listens on the loopback address while the block runs; yields the port. The server must ask for no password."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, host, port, sessions), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, host: str, port: int, sessions: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_serve, args=(client, host, port, sessions), daemon=True).start()


def _serve(client: socket.socket, host: str, port: int, sessions: int) -> None:
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        stack.enter_context(client)
        startup = _startup(client)
        if startup is None:
            return
        servers = []
        for number in range(sessions):
            server = stack.enter_context(socket.create_connection((host, port)))
            server.sendall(startup)
            welcome, _ = _until_ready(server)
            if number == 0:
                client.sendall(welcome)
            servers.append(server)
        turns = itertools.cycle(servers)
        server = next(turns)
        while True:
            kind, message = _message(client)
            server.sendall(message)
            if kind == _TERMINATE:
                return
            if kind in _ANSWERED:
                answer, state = _until_ready(server)
                client.sendall(answer)
                if state == _IDLE:
                    server = next(turns)


def _startup(client: socket.socket) -> bytes | None:
    while True:
        head = _exactly(client, 8)
        length, code = struct.unpack("!II", head)
        if code in _ENCRYPTION:
            client.sendall(b"N")
            continue
        rest = _exactly(client, length - 8)
        return head + rest if code == _STARTUP else None


def _until_ready(server: socket.socket) -> tuple[bytes, bytes]:
    """Everything up to and with ReadyForQuery, and the state of the transaction that it tells."""
    said = b""
    while True:
        kind, message = _message(server)
        said += message
        if kind == _READY:
            return said, message[-1:]


def _message(peer: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(peer, 5)
    return head[:1], head + _exactly(peer, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(peer: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = peer.recv(count - len(read))
        if not more:
            raise OSError("closed")
        read += more
    return read
