"""Every route of an application that takes a body, read from the application itself: a new one is tested unasked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute


def posting_paths(app: FastAPI) -> list[str]:
    """Their paths, aliases included."""
    found = [route.path for route in _routes(app.routes) if "POST" in route.methods]
    assert len(found) >= 9, f"routes are found where FastAPI keeps them, found {found}"
    return found


def _routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """All of them, those of included routers too."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from _routes(included.routes)
