"""The server below a path: a proxy may pass on ``/embeddings-api/v1/models`` whole, or without its first part.

A file of its own because it stands before everything else: what comes after it sees paths without that part.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.errors import ConfigError

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def check_sub_path(path: str) -> None:
    """Whether an operator's path is one.

    Raises:
        ConfigError: it is not.
    """
    if path and not _PATH.fullmatch(path):
        raise ConfigError(f"--root-path: expected a path as /embeddings-api, found {path!r}")


class SubPath:
    """Middleware that takes the part off and notes it, so that ``/openapi.json`` names the right address."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = scope["path"]
            rest = asked.removeprefix(self._path) if asked.startswith(f"{self._path}/") else asked
            scope = {**scope, "path": rest, "root_path": self._path}
        await self._app(scope, receive, send)
