"""A run that stands still at a step, so that somebody can look at what is shown meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crm_migrate import database as db
from crm_migrate.observer import Silent
from crm_migrate.settings import Settings


class Paused(Silent):
    """An observer that holds the run before the steps that it is told."""

    def __init__(self, *steps: str) -> None:
        self._before = {name: (threading.Event(), threading.Event()) for name in steps}

    def step_started(self, name: str) -> None:
        if name in self._before:
            arrived, go_on = self._before[name]
            arrived.set()
            assert go_on.wait(120), f"nobody let {name} go on"

    @contextmanager
    def before(self, name: str) -> Iterator[None]:
        """Within the block the run stands before this step."""
        arrived, go_on = self._before[name]
        assert arrived.wait(120), f"the run did not come to {name}"
        try:
            yield
        finally:
            go_on.set()


@contextmanager
def running(settings: Settings, run: Callable[..., Any], observer: Paused) -> Iterator[None]:
    """Within the block an apply or rollback is at work in a thread; at its end the run has ended well."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with db.connect(settings) as connection:
                run(connection, settings, observer)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="run")
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    assert not failed, failed
