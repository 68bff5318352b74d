"""Routes for everybody: the status page, its stream, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, StreamingResponse

from crm_migrate.web import banner, pages
from crm_migrate.web.banner import Banner
from crm_migrate.web.poller import Poller
from crm_migrate.web.public_status import PublicStatus

MOST_VIEWERS = 2000
# the same for everybody and without cookies, so any page may read it: the application runs under another origin
_ANYBODY = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


def routes(poller: Poller) -> APIRouter:
    """The routes; all of them answer from the poller's newest reading and never ask the database."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    @router.get("/status", include_in_schema=False)
    async def status_page() -> HTMLResponse:
        return pages.page("status.html", status=poller.status)

    @router.get("/api/status", summary="How far the move is")
    async def status(response: Response) -> PublicStatus:
        response.headers.update(_ANYBODY)
        return poller.status

    @router.get("/api/banner", summary="What the application shows above its pages")
    async def show_banner(response: Response) -> Banner:
        response.headers.update(_ANYBODY)
        return banner.of(poller.status)

    @router.get("/events", include_in_schema=False)
    async def events() -> StreamingResponse:
        if poller.viewers >= MOST_VIEWERS:
            # their pages go on by refreshing
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "30"})
        return StreamingResponse(
            _events(poller), media_type="text/event-stream", headers={"X-Accel-Buffering": "no", **_ANYBODY}
        )

    return router


async def _events(poller: Poller) -> AsyncIterator[str]:
    yield "retry: 3000\n\n"
    async for status in poller.follow():
        said = {
            "state": status.state,
            "announce": status.headline + (f": {status.phase}" if status.phase else ""),
            "html": pages.text("status_now.html", status=status),
        }
        yield f"data: {json.dumps(said)}\n\n"
