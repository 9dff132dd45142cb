"""What stands before every route: who may ask, and what a browser may do with an answer."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
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


class TrustedHosts:
    """Refuses requests by a name that is not this server's.

    A site elsewhere can let its own name lead to this machine and have a visitor's browser read the page under it (DNS
    rebinding); a request says by which name it came. Addresses in numbers are always taken, for they belong to nobody's
    domain, which Starlette's middleware for this cannot be told. So are ``localhost``, what this machine is called, and
    the names given.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        machine = socket.gethostname().lower()
        self._names = {"localhost", machine, f"{machine}.local", *(name.lower().rstrip(".") for name in names)} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_trusted(host_of(Request(scope).headers.get("host", ""))):
            why = "this is not a name of this server; it is told the names by which it is reached by --page-name"
            await PlainTextResponse(why, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_trusted(self, host: str) -> bool:
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
