"""The one that looks: reads the status once a second for all viewers, however many there are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import psycopg

from crm_migrate import database, log
from crm_migrate.database import Connection
from crm_migrate.errors import MigrationError
from crm_migrate.settings import Settings
from crm_migrate.web import public_status
from crm_migrate.web.public_status import PublicStatus, Reading

APPLICATION = "crm-migrate status page"
STALE_SECONDS = 15.0
# viewers hear of an unchanged state this often, so that their page knows that it is still connected
REPEAT_SECONDS = 5.0


class Poller:
    """Holds the newest reading. When the database does not answer it keeps the last one, which becomes stale."""

    def __init__(self, settings: Settings, *, interval: float = 1.0) -> None:
        self._settings = settings
        self._interval = interval
        self._connection: Connection | None = None
        self._changed = asyncio.Condition()
        self._version = 0
        self._reading: Reading | None = None
        self._read_at = 0.0
        self._stopped = False
        self.viewers = 0

    def look(self) -> None:
        """Read the status now.

        Raises:
            ConnectionFailed, psycopg.Error: the database does not answer.
        """
        if self._connection is None or self._connection.closed:
            self._connection = read_only(self._settings, APPLICATION)
        reading = public_status.read(self._connection)
        self._reading, self._read_at = _never_falling(self._reading, reading), time.monotonic()

    @property
    def reading(self) -> Reading:
        """The newest reading, whatever its age."""
        assert self._reading is not None, "look() comes first"  # noqa: S101
        return self._reading

    @property
    def status(self) -> PublicStatus:
        """What viewers are shown now."""
        stale = time.monotonic() - self._read_at > STALE_SECONDS
        return self.reading.status.model_copy(update={"stale": stale})

    async def run(self) -> None:
        """Look for ever, and wake the viewers when there is something new."""
        shown = _comparable(self.status)
        while not self._stopped:
            await asyncio.sleep(self._interval)
            try:
                await asyncio.to_thread(self.look)
            except (psycopg.Error, MigrationError) as error:
                if self._connection is not None:
                    log.event("status not read", error=type(error).__name__)
                self._forget()
            now = _comparable(self.status)
            if now != shown:
                shown = now
                async with self._changed:
                    self._version += 1
                    self._changed.notify_all()

    async def follow(self) -> AsyncIterator[PublicStatus]:
        """The status now, whenever it changes, and now and then when it does not."""
        self.viewers += 1
        try:
            while not self._stopped:
                seen = self._version
                yield self.status
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._newer_than(seen), REPEAT_SECONDS)
        finally:
            self.viewers -= 1

    async def stop(self) -> None:
        """End all streams and the connection."""
        self._stopped = True
        async with self._changed:
            self._changed.notify_all()
        self._forget()

    async def _newer_than(self, version: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._stopped or self._version != version)

    def _forget(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None


def read_only(settings: Settings, application: str) -> Connection:
    """A connection that cannot write and does not wait long for anything."""
    connection = database.connect(settings, application=application)
    connection.execute("set default_transaction_read_only to on")
    database.set_timeout(connection, "statement_timeout", 10)
    database.set_timeout(connection, "lock_timeout", 2)
    return connection


def _comparable(status: PublicStatus) -> PublicStatus:
    return status.model_copy(update={"updated_at": None})


def _never_falling(before: Reading | None, now: Reading) -> Reading:
    """The share that is done as it was, when more turned out to be planned for the same run."""
    if before is None or before.status.percent is None or now.status.percent is None:
        return now
    if before.status.started_at != now.status.started_at or before.status.percent <= now.status.percent:
        return now
    shown = now.status.model_copy(update={"percent": before.status.percent})
    return Reading(shown, now.migrated, now.rolled_back, now.rollback_until)
