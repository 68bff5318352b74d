"""The application that `crm-migrate serve` runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from crm_migrate import __version__, log
from crm_migrate.errors import MigrationError, UsageError
from crm_migrate.settings import Settings
from crm_migrate.story_place import UnknownRecord
from crm_migrate.web import pages, redirects, report_routes, review_routes, status_routes
from crm_migrate.web.entry import Entry
from crm_migrate.web.poller import Poller
from crm_migrate.web.shield import ClosedWhileLocked, SecurityHeaders

# what is answered while the CRM is closed: the status in all its forms, and what wants the token
_INSIDE = ("/review", "/reports")
_ALWAYS = ("/api/", "/static/", *_INSIDE)
_ALWAYS_EXACTLY = frozenset({"/", "/status", "/events", "/openapi.json"})


def create(settings: Settings, *, token: str, interval: float = 1.0) -> FastAPI:
    """The application; reads the status once, so that it has something to show from the first request on.

    Args:
        token: opens reports and review console.
        interval: seconds between two looks at the database.

    Raises:
        ConnectionFailed: the database does not answer.
    """
    entry = Entry(token)
    poller = Poller(settings, interval=interval)
    poller.look()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(poller.run())
        yield
        await poller.stop()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking

    app = FastAPI(
        title="crm-migrate",
        description="How far the move of the CRM to its new version is.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(ClosedWhileLocked, refuse=lambda scope: _closed(poller, scope))
    app.add_middleware(SecurityHeaders)
    app.mount("/static", StaticFiles(directory=pages.STATIC))
    app.include_router(status_routes.routes(poller))
    app.include_router(redirects.routes(poller))
    app.include_router(report_routes.routes(settings, entry))
    app.include_router(review_routes.routes(settings, entry))
    app.add_exception_handler(HTTPException, _failed)
    app.add_exception_handler(RequestValidationError, lambda request, _: _answer(request, HTTPStatus.BAD_REQUEST))
    app.add_exception_handler(MigrationError, _refused)
    app.add_exception_handler(psycopg.Error, _refused)
    return app


def _closed(poller: Poller, scope: Scope) -> Response | None:
    """The answer to a request for the application itself while nobody can work; None when it goes through."""
    path = scope["path"]
    if path in _ALWAYS_EXACTLY or path.startswith(_ALWAYS) or not poller.reading.status.closed:
        return None
    status = poller.status
    headers = {"Retry-After": str(min(3600, max(30, status.eta_seconds or 60)))}
    if "text/html" in Request(scope).headers.get("accept", ""):
        return pages.page("status.html", code=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers, status=status)
    said = {"code": "PT503", "message": f"{status.headline}. {status.message}"}
    return JSONResponse(said, status_code=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  it is registered for nothing else
    return _answer(request, HTTPStatus(error.status_code), headers=error.headers)


async def _refused(request: Request, error: Exception) -> Response:
    """A failure of the program: what it means for the one who asks, without anything of the database's text."""
    if isinstance(error, UnknownRecord):
        return _answer(request, HTTPStatus.NOT_FOUND, said="There is no such record, neither before nor after.")
    if isinstance(error, UsageError):
        return _answer(request, HTTPStatus.BAD_REQUEST, said=error.what)
    log.event("page failed", path=request.url.path, error=type(error).__name__)
    return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "10"})


def _answer(
    request: Request, code: HTTPStatus, *, said: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return pages.page(
            "failed.html",
            code=code,
            headers=dict(headers or {}),
            name=code.phrase,
            number=code,
            said=said,
            inside=request.url.path.startswith(_INSIDE) and code != HTTPStatus.UNAUTHORIZED,
        )
    return JSONResponse({"message": said or code.phrase}, status_code=code, headers=headers)
