"""Pieces of work side by side, each on a connection of its own; the first error ends them all."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import psycopg
from psycopg import sql

from crm_migrate import database
from crm_migrate.database import Connection
from crm_migrate.settings import Settings

# as many as dbt uses: more would take cores away from people who work, and there may be no more than two
CONNECTIONS = 2
# the connections share the cores: workers of a single query or index would take turns with the other, and cost a start
_ALONE = {"max_parallel_workers_per_gather": "0", "max_parallel_maintenance_workers": "0"}
_LOOK_AGAIN = 0.2
_CANCEL_TIMEOUT = 5.0

Done = TypeVar("Done")


def run(
    settings: Settings,
    pieces: Sequence[Callable[[Connection], Done]],
    *,
    connections: int = CONNECTIONS,
    database_name: str | None = None,
    snapshot: str | None = None,
    session: Mapping[str, str] | None = None,
    application: str = "crm-migrate",
) -> list[Done]:
    """Do each piece once, on whichever connection is free; give the largest first.

    Args:
        connections: at most so many at a time, however many pieces there are.
        database_name: another database than that of the settings.
        snapshot: an exported one; what a connection does is then one transaction, which sees that state.
        session: parameters of the server for these connections, such as `maintenance_work_mem`.

    Returns:
        What the pieces returned, in their order.

    Raises:
        Whatever the first piece to fail raised, when the others have been cancelled and none is at work any more.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(pieces)):
        waiting.put(number)
    done: dict[int, Done] = {}
    failures: list[BaseException] = []
    opened: list[Connection] = []
    stop = threading.Event()

    def work() -> None:
        try:
            with database.connect(settings, database=database_name, application=application) as connection:
                opened.append(connection)
                given = {**_ALONE, **(session or {})}
                connection.execute(
                    "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) as given (name, value)",
                    [list(given), list(given.values())],
                )
                with contextlib.nullcontext() if snapshot is None else connection.transaction():
                    if snapshot is not None:
                        connection.execute("set transaction isolation level repeatable read")
                        connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
                    while not stop.is_set():
                        try:
                            number = waiting.get_nowait()
                        except queue.Empty:
                            return
                        done[number] = pieces[number](connection)
        except BaseException as error:
            failures.append(error)
            raise

    workers = min(connections, len(pieces))
    with ThreadPoolExecutor(max(workers, 1), "piece") as pool:
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            # with a timeout: a wait without one would not always hear of an interrupt
            while not failures and wait(futures, timeout=_LOOK_AGAIN, return_when=FIRST_EXCEPTION).not_done:
                pass
        finally:
            stop.set()
            _cancel(futures, opened)
    if failures:
        raise failures[0]
    return [done[number] for number in range(len(pieces))]


def _cancel(futures: Sequence[Future[None]], opened: Sequence[Connection]) -> None:
    # again and again: a request that comes between two statements cancels nothing
    while wait(futures, timeout=_LOOK_AGAIN).not_done:
        for connection in opened:
            if not connection.closed:
                with contextlib.suppress(psycopg.Error):
                    connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
