"""Who may see what holds data: whoever opened the address that the server printed when it was started."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

COOKIE = "crm_migrate_review"
_LARGEST_FORM = 64_000


class Entry:
    """One token for the life of a server; the cookie and the forms carry what is derived from it, never itself."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._cookie = self._derived("cookie")
        self.form_token = self._derived("form")

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._token.encode(), purpose.encode(), hashlib.sha256).hexdigest()

    def admits(self, request: Request) -> bool:
        """Whether the request carries the cookie of somebody who came in."""
        return _same(request.cookies.get(COOKIE, ""), self._cookie)

    def require(self, request: Request) -> None:
        """Let in or refuse; a dependency of every page that holds data.

        Raises:
            HTTPException: 401, nobody came in by the printed address with this browser.
        """
        if not self.admits(request):
            raise HTTPException(HTTPStatus.UNAUTHORIZED)

    def come_in(self, request: Request) -> Response | None:
        """The answer to the printed address: the cookie, and the same page without the token in its address."""
        given = request.query_params.get("token")
        if given is None:
            return None
        if not _same(given, self._token):
            raise HTTPException(HTTPStatus.UNAUTHORIZED)
        answer = RedirectResponse(request.url.path, status_code=HTTPStatus.SEE_OTHER)
        answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict", secure=over_tls(request))
        return answer

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form of this server.

        Raises:
            HTTPException: 401 or 403, it was sent by somebody or from somewhere else; 413, it is too large.
        """
        self.require(request)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_FORM:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if not _same(fields.get("form_token", ""), self.form_token):
            raise HTTPException(HTTPStatus.FORBIDDEN)
        return fields


def over_tls(request: Request) -> bool:
    """Whether the browser came by TLS, as the proxy in front says if it is one that is believed."""
    return request.url.scheme == "https"


def _same(given: str, wanted: str) -> bool:
    # bytes: a text with letters beyond ASCII cannot be compared
    return secrets.compare_digest(given.encode(), wanted.encode())
