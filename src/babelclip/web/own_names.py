"""Under which names the page answers. A site elsewhere can let its own name lead to this machine and have a visitor's
browser read the page under it (DNS rebinding); a request says by which name it came."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class OwnNames:
    """Middleware: requests by a name that is not ours are refused.

    Addresses in numbers are always taken, for they belong to nobody's domain. So are ``localhost``, what this machine
    is called, and the names given.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        called = socket.gethostname().lower()
        self._names = {"localhost", called, f"{called}.local", *(name.lower().rstrip(".") for name in names)} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_ours(host_of(Request(scope).headers.get("host", ""))):
            said = "this is not a name of this server; it is told the names by which it is reached by --page-name"
            await PlainTextResponse(said, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host in self._names
        return True


def host_of(header: str) -> str:
    """The name or address in a ``Host`` header, without its port and brackets."""
    host = header.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")
