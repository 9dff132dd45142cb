"""Requests that a web page elsewhere has a visitor's browser send.

Without keys whoever reaches the server may use it, and a browser on this machine reaches it: any page that it shows
could send it work without reading the answer, and under a name that leads here (DNS rebinding) could read it too.
A browser names the page in ``Origin`` with every ``POST``, whatever its content type, and scripts cannot change
that. So a ``POST`` of a page is taken from this server's own pages and from those that the operator allows; what sends
no ``Origin`` is no page.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.cross_site import is_own_host, names_of_this_machine
from babelclip.serve.access.origins import ANY
from babelclip.serve.access_log import AccessLog
from babelclip.serve.error_responses import error_response
from babelclip.serve.errors import ForeignPage

_HARMLESS = ("GET", "HEAD", "OPTIONS")


class RefuseForeignPages:
    """Middleware around an API that asks for no keys."""

    def __init__(self, app: ASGIApp, access_log: AccessLog, allowed: Collection[str]) -> None:
        self._app, self._access_log, self._allowed = app, access_log, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _HARMLESS:
            headers = Headers(scope=scope)
            page = page_elsewhere(headers.get("origin"), headers.get("host", ""), headers.get("sec-fetch-site"))
            if page is not None and page not in self._allowed and ANY not in self._allowed:
                refusal = ForeignPage(page)
                self._access_log.refused(scope, refusal.code)
                await error_response(refusal, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def page_elsewhere(origin: str | None, host: str, fetch_site: str | None) -> str | None:
    """The page that has sent a request, where it is not this server's own; None: it is, or no page has.

    Args:
        origin: the header of that name.
        host: as well; a name that is not this machine's may be anybody's.
        fetch_site: ``Sec-Fetch-Site``.
    """
    if origin is None:
        return "another site" if fetch_site in ("cross-site", "same-site") else None
    try:
        is_own = urlsplit(origin).netloc.lower() == host.lower() != "" and is_own_host(host, names_of_this_machine())
    except ValueError:  # no address
        is_own = False
    return None if is_own else origin
