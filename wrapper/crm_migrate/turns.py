"""Whose turn it is, when some pieces of work wait for others: the first of the longest chain."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from crm_migrate.build_order import chains


class OthersFailed(RuntimeError):
    """Nobody's turn any more: what this one waited for failed."""


class Turns:
    """Gives each piece out once, when all that it waits for is done, to whoever asks on any thread."""

    def __init__(self, parents: Mapping[str, Collection[str]]) -> None:
        """Begin.

        Args:
            parents: of each piece, those that it waits for; names that are no piece are done already.
        """
        self._parents = {name: {*waits} & parents.keys() for name, waits in parents.items()}
        lengths = chains(self._parents)
        self._waiting = sorted(parents, key=lambda name: (-lengths[name], name))
        self._done: set[str] = set()
        self._has_failed = False
        self._news = threading.Condition()

    @contextmanager
    def take(self) -> Iterator[str]:
        """The name of the next piece, when there is one; as often as there are pieces.

        Raises:
            OthersFailed: there never will be.
        """
        with self._news:
            while (name := self._next()) is None:
                self._news.wait()
            self._waiting.remove(name)
        try:
            yield name
        except BaseException:
            with self._news:
                self._has_failed = True
                self._news.notify_all()
            raise
        with self._news:
            self._done.add(name)
            self._news.notify_all()

    def _next(self) -> str | None:
        if self._has_failed:
            raise OthersFailed
        return next((name for name in self._waiting if self._parents[name] <= self._done), None)
