"""What tells about the server rather than embeds, and asks for a key where the operator wants that.

Each kind is named by ``--keys-for``; health is for whoever watches, and never asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.serve.access.authenticator import Client
from babelclip.serve.access_log import AccessLog
from babelclip.serve.error_responses import error_response
from babelclip.serve.errors import Refusal
from babelclip.serve.settings import Guarded
from babelclip.serve.sub_path import path_below


def guarded_kind(path: str) -> Guarded | None:
    """Which kind a path is, if any."""
    if path in ("/v1/models", "/meta") or path.startswith("/v1/models/"):
        return "models"
    return {"/metrics": "metrics", "/openapi.json": "openapi"}.get(path)  # type: ignore[return-value]


class GuardedPaths:
    """Middleware that admits a client before such a path is answered."""

    def __init__(
        self,
        app: ASGIApp,
        kinds: Collection[Guarded],
        admit: Callable[[Request], Awaitable[Client]],
        access_log: AccessLog,
    ) -> None:
        self._app, self._kinds, self._admit, self._access_log = app, kinds, admit, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or guarded_kind(path_below(scope)) not in self._kinds
            or scope["method"] == "OPTIONS"
        ):
            await self._app(scope, receive, send)
            return
        try:
            client = await self._admit(Request(scope))
        except Refusal as refusal:
            self._access_log.refused(scope, refusal.code)
            await error_response(refusal, scope["state"]["request_id"])(scope, receive, send)
            return
        with client:
            await self._app(scope, receive, send)
