"""A route that takes what strangers send: who asks is seen from the head, and a body is bounded before it is parsed.

FastAPI reads and parses a body before it calls anything of ours, so the order is turned around here, once for all
routes: the key and what it may do at once, then the bytes, counted, then the objects.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from babelclip.serve.access.authenticator import Client
from babelclip.serve.body_budget import FREE_BYTES
from babelclip.serve.errors import TooLarge
from babelclip.serve.inference.served_model import MAX_CHARACTERS
from babelclip.serve.json_structure import JsonStructure
from babelclip.serve.large_json import parse_large_json
from babelclip.serve.state import AppState

SMALL_BODY = 2**20
"""Bytes up to which Python's own parser reads a body. It takes up to nine bytes for one; ``large_json`` takes four, and
refuses what JSON has not (NaN, halves of surrogates), which in a small body is told by the name of its field."""


VALUE_BYTES = 50
"""What a value counts in the budget of bodies: a fifth of the most that one takes, as a byte takes up to five."""


def guarded_router(state: AppState) -> APIRouter:
    """A router whose routes admit a client before they read what it sends."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            if "POST" not in (self.methods or ()):
                return handle

            async def admit_then_handle(request: Request) -> Response:
                with await state.admit(request) as client:
                    request.state.client = client
                    bounded = BoundedRequest(request, state.settings.max_json_values)
                    try:
                        await bounded.body()
                        return await handle(bounded)
                    except ClientDisconnect:
                        raise HTTPException(400, "the body did not come whole") from None  # nobody is there to read it
                    except asyncio.CancelledError:  # the client has left, or the server ends, or it took too long
                        if request.state.has_left():
                            client.leave()
                        raise

            return admit_then_handle

    return APIRouter(route_class=GuardedRoute)


def posting_paths(routers: Iterable[APIRouter]) -> frozenset[str]:
    """The paths that take a body."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return frozenset(route.path for route in routes if "POST" in (route.methods or ()))


def admitted_client(request: Request) -> Client:
    """Who sent a request of a guarded route."""
    return cast(Client, request.state.client)


def is_csv(request: Request) -> bool:
    """Whether the body says that it is CSV, which has a bound of its own where it is read."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/csv"


class BoundedRequest(Request):
    """A request whose JSON is counted while it comes in."""

    def __init__(self, request: Request, max_values: int) -> None:
        super().__init__(request.scope, request.receive)
        self._max_values, self._is_csv = max_values, is_csv(self)

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it has more values than a body may; the rest was not read.
        """
        if not hasattr(self, "_body"):
            structure = JsonStructure(self._max_values)
            async for piece in self.stream():
                structure.add(piece)
                if self._is_csv:
                    continue
                while structure.is_behind:
                    structure.count_on()
                    await asyncio.sleep(0)
                if structure.values > self._max_values:
                    said = f"the body has more than {self._max_values:,} values; send fewer items in one request"
                    raise TooLarge(said)
                await self.state.hold(len(structure.body) + VALUE_BYTES * structure.values - FREE_BYTES)
            self._body = structure.body  # type: ignore[assignment]  # bytes to all who read it
        return self._body

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            JSONDecodeError: it is none.
        """
        content = await self.body()
        if len(content) <= SMALL_BODY:
            return json.loads(content)
        return await parse_large_json(cast(bytearray, content), MAX_CHARACTERS)
