"""The server below a path: a proxy may pass on ``/embeddings-api/v1/models`` whole, or without its first part.

It stands before everything else. What comes after it sees whole paths, as ASGI has it, and the part beside them
(``root_path``); ``path_below`` is what is left.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.responses import RedirectResponse
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


def check_no_path_of_its_own(path: str, first_segments: Collection[str]) -> None:
    """Whether what a proxy passes on with and without that part can be told apart.

    Raises:
        ConfigError: it cannot, because the server has such paths itself.
    """
    first = path.removeprefix("/").partition("/")[0]
    if path and first in first_segments:
        raise ConfigError(f"--root-path {path}: the server has paths below /{first} of its own; choose another")


def path_below(scope: Scope) -> str:
    """The path of a request without the part that the whole server is below."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


class SubPath:
    """Middleware that puts the part before every path that lacks it, and notes it."""

    def __init__(self, app: ASGIApp, path: str, *, has_page: bool = False) -> None:
        """Pass requests on.

        Args:
            app: to which.
            path: the part.
            has_page: there is a page at its end, whose links are relative; without the last ``/`` they would lead
                elsewhere.
        """
        self._app, self._path, self._has_page = app, path, has_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = scope["path"]
            if self._has_page and asked == self._path and scope["method"] in ("GET", "HEAD"):
                whole = RedirectResponse(f"{self._path.rpartition('/')[2]}/")  # relative, as its address is a proxy's
                await whole(scope, receive, send)
                return
            whole_path = asked if asked.startswith(f"{self._path}/") else self._path + asked
            scope = {**scope, "path": whole_path, "root_path": self._path}
        await self._app(scope, receive, send)
