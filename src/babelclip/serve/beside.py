"""Another application in the same server: some paths are its own, all others stay the API's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.serve.own_encoder import OwnEncoder


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An application, and which paths are its own."""

    app: ASGIApp
    places: frozenset[str]  # first parts of its paths: "" is /, "static" all of /static/...


MakeNeighbour = Callable[[OwnEncoder], Neighbour]
"""Makes it around the first model, once that is there."""


class Beside:
    """Middleware that shows requests the right door."""

    def __init__(self, app: ASGIApp, neighbour: Neighbour) -> None:
        self._app, self._neighbour = app, neighbour

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and first_part(scope["path"]) in self._neighbour.places
        await (self._neighbour.app if ours else self._app)(scope, receive, send)


def first_part(path: str) -> str:
    """``static`` of ``/static/page.css``."""
    return path.removeprefix("/").partition("/")[0]
