"""What an address or a request can say and the page does not know is refused in plain words, at every route."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx
import pytest

from .test_cost import ROUTES

KNOWN = {
    "GET /": {"q", "in", "like", "after", "before", "kind", "start", "lang"},
    "GET /results": {"q", "in", "like", "after", "before", "kind", "start", "lang"},
    "POST /results": {"in", "after", "before", "kind", "start", "lang"},
    "GET /playground": {"texts", "dim", "lang"},
    "POST /playground": {"lang"},
    "GET /where/{id}": {"q"},
    "GET /progress": {"lang"},
}
EVERY = set().union(*KNOWN.values())


def asked(address: str, route: tuple[str, str], behind: str) -> httpx.Response:
    method, path = route
    return httpx.request(method, f"{address}{path.replace('{id}', 'x')}?{behind}", timeout=60)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_route_refuses_what_it_does_not_know(address: str, route: tuple[str, str]) -> None:
    known = KNOWN.get(" ".join(route), set())
    for name in (*(EVERY - known), "where", "top", "Q", "q ", "utm_source", "", "\x1b[31m", "<b>"):
        answer = asked(address, route, str(httpx.QueryParams({name: "x"})))
        assert answer.status_code == 400, name
        said = answer.json()["detail"]
        assert said.startswith("unknown parameter")
        assert all(each in said for each in known)
        assert "\x1b" not in said
    for name in known:
        answer = asked(address, route, f"{name}=en&{name}=en")
        assert (answer.status_code, answer.json()["detail"][-19:]) == (400, "times: give it once")
    if "lang" in known:
        assert asked(address, route, "lang=tlh").json()["detail"] == "lang must be one of en, zh"
        assert "unknown parameter" not in asked(address, route, "lang=zh").text


def test_who_looks_at_a_page_is_told_in_one(address: str) -> None:
    answer = httpx.get(f"{address}/?<b>=1&lang=tlh", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "unknown parameter &#39;&lt;b&gt;&#39;" in answer.text


def test_fields_of_a_playground(address: str, photos: Path) -> None:
    content = base64.b64encode((photos / "dog.jpg").read_bytes()).decode()
    right = {"texts": ["a dog"], "images": [{"name": "dog.jpg", "content": content}], "dim": 64}
    assert httpx.post(f"{address}/playground", json=right).status_code == 200
    image = {"name": "dog.jpg", "content": content, "detail": "high"}
    for wrong, name in (({**right, "model": "x"}, "model"), ({**right, "images": [image]}, "detail")):
        answer = httpx.post(f"{address}/playground", content=json.dumps(wrong))
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"unknown field '{name}'")


def test_head_and_options_at_every_route(address: str) -> None:
    for path in {path for _, path in ROUTES}:
        methods = {method for method, each in ROUTES if each == path}
        target = f"{address}{path.replace('{id}', 'x')}"
        options = httpx.options(target)
        assert options.status_code == 204, path
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        assert set(options.headers["Allow"].split(", ")) == allowed
        head, get = httpx.head(target, timeout=60), httpx.get(target, timeout=60)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert httpx.delete(target).status_code == 405
