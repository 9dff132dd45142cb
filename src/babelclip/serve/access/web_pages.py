"""Requests that a web page elsewhere has a visitor's browser send to an API that asks for no keys.

Whoever reaches the server may use it then, and a browser on this machine reaches it: any page that it shows could send
it work without reading the answer, and under a name that leads here (DNS rebinding) could read it too. So a ``POST`` of
a page is taken from this server's own pages (``cross_site``) and from those that the operator allows. What is read
without a ``POST`` costs nothing and is no secret.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.cross_site import page_elsewhere
from babelclip.serve.access.origins import ANY
from babelclip.serve.access_log import AccessLog
from babelclip.serve.error_responses import error_response
from babelclip.serve.errors import ForeignPage

_HARMLESS = ("GET", "HEAD", "OPTIONS")


class RefuseForeignPages:
    """Middleware around an API that asks for no keys."""

    def __init__(
        self, app: ASGIApp, access_log: AccessLog, allowed: Collection[str], own_names: Collection[str] = ()
    ) -> None:
        self._app, self._access_log, self._allowed, self._own_names = app, access_log, allowed, own_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _HARMLESS:
            page = page_elsewhere(Headers(scope=scope), self._own_names)
            if page is not None and page not in self._allowed and ANY not in self._allowed:
                refusal = ForeignPage(page)
                self._access_log.refused(scope, refusal.code)
                await error_response(refusal, scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)
