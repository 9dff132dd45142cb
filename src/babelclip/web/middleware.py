"""What stands before every route: who may ask, and what a browser may do with an answer."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.cross_site import is_own_host, is_visit, names_of_this_machine, page_elsewhere
from babelclip.serve.sub_path import path_below

PAGES = ("/", "/playground")
"""Where links from elsewhere may lead to."""
MAX_QUERY_BYTES = 2**15
"""What follows the ``?`` of an address; the connection bounds the whole head."""
MAX_PARAMETERS = 32
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds ``SECURITY_HEADERS`` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class QueryLimits:
    """Refuses addresses with more behind their ``?`` than any that the page makes, before that is taken apart."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"] if scope["type"] == "http" else b""
        if len(query) > MAX_QUERY_BYTES:
            why = f"the address has more than {MAX_QUERY_BYTES:,} bytes behind its ?"
            await PlainTextResponse(why, 414)(scope, receive, send)
        elif query.count(b"&") >= MAX_PARAMETERS:
            why = f"the address has more than {MAX_PARAMETERS} parameters"
            await PlainTextResponse(why, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class OwnOrigin:
    """Refuses what a page elsewhere makes a browser send: it would cost a search, or a hundred looks of the model.

    Whoever follows a link to the page is let in.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_refused(scope):
            why = "a page elsewhere on the web may not send requests to this one"
            await PlainTextResponse(why, 403, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_refused(self, scope: Scope) -> bool:
        headers = Request(scope).headers
        if path_below(scope) == "/health" or page_elsewhere(headers, self._names) is None:
            return False
        is_page = scope["method"] in ("GET", "HEAD") and path_below(scope) in PAGES
        return not is_page or not is_visit(headers)


class TrustedHosts:
    """Refuses requests by a name that is not this server's.

    A site elsewhere can let its own name lead to this machine and have a visitor's browser read the page under it (DNS
    rebinding); a request says by which name it came. Addresses in numbers are always taken, for they belong to nobody's
    domain, which Starlette's middleware for this cannot be told. So are ``localhost``, what this machine is called, and
    the names given.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = names_of_this_machine() | {name.lower().rstrip(".") for name in names} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_own_host(Request(scope).headers.get("host", ""), self._names):
            why = "this is not a name of this server; it is told the names by which it is reached by --page-name"
            await PlainTextResponse(why, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
