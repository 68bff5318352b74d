"""Old addresses: who asks for a deal is sent to the opportunity that it became, and back after a rollback."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from crm_migrate.web.poller import Poller

OLD, NEW = "/deals", "/opportunities"


def routes(poller: Poller) -> APIRouter:
    """Redirects with the rest of the path and the query.

    307 while a rollback is possible, since browsers keep a permanent one and must be sent back then; 308 after.
    """
    router = APIRouter(include_in_schema=False)

    def redirect(old: str, new: str, code: Callable[[], HTTPStatus | None]) -> None:
        async def go(request: Request) -> RedirectResponse:
            status = code()
            if status is None:
                raise HTTPException(HTTPStatus.NOT_FOUND)
            # as it was sent: the decoded path would lose what was escaped in it
            rest = request.scope["raw_path"].decode("ascii", "replace")[len(old) :]
            query = request.scope["query_string"].decode("ascii", "replace")
            return RedirectResponse(new + rest + (f"?{query}" if query else ""), status_code=status)

        for path in (old, old + "/{rest:path}"):
            router.add_api_route(path, go, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])

    redirect(OLD, NEW, lambda: _forward(poller))
    redirect(NEW, OLD, lambda: HTTPStatus.TEMPORARY_REDIRECT if poller.reading.rolled_back else None)
    return router


def _forward(poller: Poller) -> HTTPStatus | None:
    reading = poller.reading
    if not reading.migrated:
        return None
    until = reading.rollback_until
    is_final = until is not None and reading.status.updated_at > until
    return HTTPStatus.PERMANENT_REDIRECT if is_final else HTTPStatus.TEMPORARY_REDIRECT
