"""One browser and its pages for a test run, and servers of the real application on free ports."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from crm_migrate.settings import Settings
from crm_migrate.web import app, server
from web.tools import browser_program

TOKEN = "the-token-of-the-tests"
# nothing that calls out, and nothing that a container has not got
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Served:
    """A running server of the web pages."""

    url: str
    token: str = TOKEN

    @property
    def review(self) -> str:
        """The address that lets in."""
        return f"{self.url}/review?token={self.token}"

    def client(self) -> httpx.Client:
        """A program that asks."""
        return httpx.Client(base_url=self.url, timeout=20)


Serve = Callable[[Settings], AbstractContextManager[Served]]


@contextmanager
def serve(settings: Settings, *, interval: float = 0.2, proxies: Sequence[str] = ()) -> Iterator[Served]:
    """The application on a free port, in a thread of this process."""
    running = server.server_of(app.create(settings, token=TOKEN, interval=interval), proxies=proxies)
    thread = threading.Thread(target=running.run, name="web", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not running.started:
            assert thread.is_alive(), "the server ended while it was starting"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}")
    finally:
        running.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive(), "the server did not end"


@contextmanager
def come_in(served: Served) -> Iterator[httpx.Client]:
    """A program that came in."""
    with served.client() as client:
        assert client.get("/review", params={"token": served.token}).status_code == 303
        yield client


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the test run (of this worker)."""
    with sync_playwright() as playwright:
        program = browser_program(playwright.chromium.executable_path)
        launched = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield launched
        launched.close()


MakeContext = Callable[..., BrowserContext]


@pytest.fixture
def context(browser: Browser) -> Iterator[MakeContext]:
    """`context(color_scheme="dark", …)`: a browser profile of its own, without anything of another test."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        opened = browser.new_context(**{"timezone_id": "Europe/Zurich", "locale": "en-GB", **options})
        opened.set_default_timeout(15_000)
        made.append(opened)
        return opened

    yield make
    for opened in made:
        with contextlib.suppress(Exception):
            opened.close()
