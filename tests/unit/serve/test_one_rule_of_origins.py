"""Whether a page elsewhere made a browser send a request is told by one rule, before the page and the API alike."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.cross_site import page_elsewhere
from babelclip.serve.access.web_pages import RefuseForeignPages
from babelclip.serve.access_log import AccessLog
from babelclip.serve.metrics import Metrics
from babelclip.web.middleware import OwnOrigin

NAMES = ("photos.example.org",)
"""By which the operator says that a proxy passes requests on."""
SITES = (None, "same-origin", "same-site", "cross-site", "none", "unheard-of")
ORIGINS = (
    None, "null", "http://", "http://[", "http://a:99999999", "http://evil.example:8080", "HTTP://LOCALHOST:8080",
    "http://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:8080", "http://babelclip:8080",
    "https://photos.example.org", "http://photos.example.org:3000", "https://photos.example.org.evil.example",
)  # fmt: skip
HOSTS = (
    None, "", "localhost:8080", "localhost", "127.0.0.1:8080", "[::1]:8080", "evil.example:8080", "babelclip:8080",
    "photos.example.org", "photos.example.org:443", "a:99999999", "[",
)  # fmt: skip
CASES = list(product(SITES, ORIGINS, HOSTS))


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def headers_of(site: str | None, origin: str | None, host: str | None) -> dict[str, str]:
    named = {"sec-fetch-site": site, "origin": origin, "host": host}
    return {name: value for name, value in named.items() if value is not None}


def status_of(app: ASGIApp, headers: dict[str, str]) -> int:
    found: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        found.extend([message["status"]] if "status" in message else [])

    scope = {
        "type": "http", "method": "POST", "path": "/results", "state": {"request_id": "x"},
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return found[0]


@pytest.mark.parametrize("names", [(), NAMES], ids=["no names", "a proxy's"])
def test_the_page_and_the_api_refuse_the_same(names: tuple[str, ...]) -> None:
    page = OwnOrigin(nothing, names=names)
    api = RefuseForeignPages(nothing, AccessLog(Metrics()), (), names)
    differ = {}
    for case in CASES:
        found = status_of(page, headers_of(*case)), status_of(api, headers_of(*case))
        assert set(found) <= {200, 403}
        if found[0] != found[1]:
            differ[case] = found
    assert differ == {}


@pytest.mark.parametrize(
    ("site", "origin", "host", "is_elsewhere"),
    [
        (None, None, "babelclip:8080", False),  # a program
        ("none", None, "localhost", False),  # the user
        ("none", "http://evil.example:8080", "localhost", True),
        (None, "http://localhost:8080", "localhost:8080", False),
        (None, "http://localhost", "localhost:80", False),
        (None, "https://127.0.0.1", "127.0.0.1:443", False),
        ("same-origin", "null", "localhost:8080", False),  # as a page without a referrer sends it
        ("same-origin", "https://other.example", "127.0.0.1:8080", False),  # a proxy asks by another name
        ("same-origin", "http://evil.example:8080", "evil.example:8080", True),  # DNS rebinding
        ("same-origin", None, "evil.example:8080", True),
        ("cross-site", None, "localhost:8080", True),
        ("cross-site", "http://localhost:8080", "localhost:8080", True),  # the browser says so
        ("same-site", "http://localhost:3000", "localhost:8080", True),  # another port is another page
        (None, "http://localhost:3000", "localhost:8080", True),
        (None, "https://photos.example.org", "127.0.0.1:8090", False),
        (None, "https://photos.example.org:3000", "127.0.0.1:8090", True),
        (None, "https://photos.example.org", "photos.example.org", False),
        ("same-origin", None, "photos.example.org:443", False),
    ],
)
def test_the_rule(site: str | None, origin: str | None, host: str, is_elsewhere: bool) -> None:
    found = page_elsewhere(headers_of(site, origin, host), frozenset(NAMES))
    assert found == ((origin or "another site") if is_elsewhere else None)
