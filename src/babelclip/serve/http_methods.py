"""``HEAD`` and ``OPTIONS`` for every path, and an ``Allow`` that names all that a path knows.

Routes say what they answer to ``GET`` and ``POST``; the rest follows from that, so no route has to say it.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HttpMethods:
    """Middleware between an application's own and its routes."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """Answer for routes.

        Args:
            routes: the list of the application, to which routes may be added later.
        """
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = self._known(scope)
        allow = ", ".join(known)
        if scope["method"] == "OPTIONS" and known:
            await Response(status_code=204, headers={"Allow": allow})(scope, receive, send)
            return

        async def send_allow(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405 and known:
                MutableHeaders(scope=message)["Allow"] = allow
            await send(message)

        if scope["method"] == "HEAD" and "GET" in known:  # the server leaves out the body of the answer
            as_get = {**scope, "method": "GET"}
            try:
                await self._app(as_get, receive, send_allow)
            finally:
                scope["route"] = as_get.get("route")  # for the access log
        else:
            await self._app(scope, receive, send_allow)

    def _known(self, scope: Scope) -> list[str]:
        """The methods of the path."""
        known = set()
        for method in ("GET", "POST"):
            if any(route.matches({**scope, "method": method})[0] == Match.FULL for route in self._routes):
                known.add(method)
        if "GET" in known:
            known.add("HEAD")
        return sorted({*known, "OPTIONS"}) if known else []
