"""HTTP's manners on every route, and what a web page elsewhere cannot have a browser do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from babelclip.encoder import Encoder
from babelclip.errors import ConfigError
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.app import make_app
from babelclip.serve.settings import Guarded, ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"
APP = "https://app.example.org"
EVIL = "https://evil.example.com"


@pytest.fixture(scope="module")
def with_page(encoder: Encoder, running: Running) -> Iterator[httpx.Client]:
    with running(make_app(encoder, ServerSettings(cors_origins=(APP,)))) as client:
        yield client


def routes(client: httpx.Client) -> list[tuple[str, set[str]]]:
    paths = client.get("/openapi.json").json()["paths"]
    found = [(path.replace("{name}", MODEL), {method.upper() for method in methods}) for path, methods in paths.items()]
    return [*found, ("/openapi.json", {"GET"}), ("/embeddings", {"POST"}), ("/v1/embeddings/embeddings", {"POST"})]


def test_every_route_answers_head_and_options(client: httpx.Client) -> None:
    assert len(routes(client)) > 15
    for path, methods in routes(client):
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        options = client.options(path)
        assert options.status_code == 204, path
        assert set(options.headers["Allow"].split(", ")) == allowed
        for method in ("GET", "HEAD", "POST", "DELETE"):
            answer = client.request(method, path)
            assert (answer.status_code == 405) == (method not in allowed), (method, path)
            if answer.status_code == 405:
                assert set(answer.headers["Allow"].split(", ")) == allowed
    assert client.options("/nothing").status_code == 404


def test_head_is_get_without_the_body(client: httpx.Client) -> None:
    for path, methods in routes(client):
        if "GET" in methods and path != "/metrics":
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            for name in ("Content-Length", "Content-Type"):
                assert head.headers.get(name) == get.headers.get(name), path
    assert client.head("/nothing").status_code == 404
    assert 'route="/live"' in client.get("/metrics").text  # and not "unmatched"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/tokens", "/v1/classify", "/v2/embed", "/vectorize"])
@pytest.mark.parametrize("kind", [None, "application/json", "application/vnd.api+json; charset=utf-8"])
def test_a_body_without_a_content_type_is_json(client: httpx.Client, path: str, kind: str | None) -> None:
    body = {"input": "a", "texts": ["a"], "labels": ["a", "b"]}
    if path in ("/v1/embeddings", "/v1/tokens", "/v1/classify"):
        del body["texts"]
    headers = {} if kind is None else {"Content-Type": kind}
    assert client.post(path, content=json.dumps(body), headers=headers).status_code == 200


def test_models_say_when_they_were_loaded(client: httpx.Client) -> None:
    cards = [*client.get("/v1/models").json()["data"], client.get(f"/v1/models/{MODEL}").json()]
    assert {type(card["created"]) for card in cards} == {int}
    assert len({card["created"] for card in cards}) == 1


FOREIGN = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://evil.example.com:8080", "Host": "evil.example.com:8080"},  # DNS rebinding
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
SIMPLE = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    None,
    "application/json",
]


@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_elsewhere_cannot_have_a_browser_post(
    client: httpx.Client, headers: dict[str, str], kind: str | None
) -> None:
    for path, methods in routes(client):
        if "POST" in methods:
            sent = headers if kind is None else {**headers, "Content-Type": kind}
            answer = client.post(path, content=json.dumps({"input": "a"}), headers=sent)
            assert (answer.status_code, answer.json()["code"]) == (403, "AUTHZ_ORIGIN_NOT_ALLOWED"), path
            assert "--cors-origin" in answer.json()["detail"]


def test_what_is_no_page_elsewhere_is_answered(client: httpx.Client) -> None:
    host = client.base_url.netloc.decode()
    for headers in (
        {},
        {"Host": "babelclip:8080"},  # a service's name in a network of containers
        {"Origin": f"http://{host}"},
        {"Origin": "http://localhost:8080", "Host": "localhost:8080", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://[::1]:8080", "Host": "[::1]:8080"},
        {"Sec-Fetch-Mode": "cors"},  # Node's fetch
        {"Sec-Fetch-Site": "none"},
    ):
        assert client.post("/v1/embeddings", json={"input": "a"}, headers=headers).status_code == 200, headers
    assert client.get("/v1/models", headers={"Origin": EVIL}).status_code == 200


def test_keys_are_what_keeps_pages_out_where_there_are_keys(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        _, secret = keys.add("one")
        headers = {"Authorization": f"Bearer {secret}", "Origin": EVIL}
        assert client.post("/v1/embeddings", json={"input": "a"}, headers=headers).status_code == 200
        assert client.post("/v1/embeddings", json={"input": "a"}, headers={"Origin": EVIL}).status_code == 401


@pytest.mark.parametrize("kinds", [(), ("models",), ("metrics",), ("openapi",), ("models", "metrics", "openapi")])
def test_what_asks_for_a_key_is_what_was_named(
    encoder: Encoder, running: Running, tmp_path: Path, kinds: tuple[Guarded, ...]
) -> None:
    paths: dict[str, list[str]] = {
        "models": ["/v1/models", f"/v1/models/{MODEL}", "/v1/models/none", "/meta"],
        "metrics": ["/metrics"],
        "openapi": ["/openapi.json"],
        "never": ["/live", "/ready", "/health", "/.well-known/ready"],
    }
    with KeyFile(tmp_path / "keys.db", create=True) as keys:
        key = {"Authorization": f"Bearer {keys.add('one')[1]}"}
        with running(make_app(encoder, ServerSettings(keys_for=kinds), keys=keys)) as client:
            for kind, of_kind in paths.items():
                for path in of_kind:
                    for method in ("GET", "HEAD"):
                        asks = client.request(method, path).status_code == 401
                        assert asks == (kind in kinds), (method, path)
                        assert client.request(method, path, headers=key).status_code in (200, 204, 404)
                    assert client.options(path).status_code == 204


def test_an_allowed_page_may_ask_and_read(with_page: httpx.Client) -> None:
    asked = {
        "Origin": APP, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }  # fmt: skip
    preflight = with_page.options("/v1/embeddings", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == APP
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    for body, status in (({"input": "a"}, 200), ({}, 422)):
        answer = with_page.post("/v1/embeddings", json=body, headers={"Origin": APP})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, APP)
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
    assert with_page.options("/v1/embeddings", headers={**asked, "Origin": EVIL}).status_code == 400
    assert with_page.post("/v1/embeddings", json={"input": "a"}, headers={"Origin": EVIL}).status_code == 403
    assert with_page.options("/v1/embeddings").status_code == 204


def test_no_page_may_read_unless_one_is_allowed(client: httpx.Client) -> None:
    for method in ("GET", "OPTIONS"):
        answer = client.request(method, "/v1/models", headers={"Origin": APP})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_origins_are_checked() -> None:
    for wrong in ("app.example.org", "https://app.example.org/", "https://app.example.org/x", ""):
        with pytest.raises(ConfigError, match="expected an origin"):
            ServerSettings(cors_origins=(wrong,))
    for good in ("*", "http://localhost:3000", "app://obsidian.md"):
        ServerSettings(cors_origins=(good,))


def test_server_wide_truncation(encoder: Encoder, running: Running) -> None:
    body = {"input": "word " * 600}
    with running(make_app(encoder, ServerSettings(truncate=True))) as client:
        with pytest.warns(UserWarning, match="truncat|cut"):
            assert client.post("/v1/embeddings", json=body).status_code == 200
        assert client.post("/v1/tokens", json=body).json()["data"][0]["object"] == "price"
        for said in ({"truncate": False}, {"truncation": False}):
            refused = client.post("/v1/embeddings", json={**body, **said})
            assert refused.json()["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"


def test_a_path_before_every_path(encoder: Encoder, running: Running) -> None:
    with running(make_app(encoder, ServerSettings(root_path="/embeddings-api"))) as client:
        for prefix in ("", "/embeddings-api"):  # a proxy that takes it off, and one that leaves it
            assert client.post(f"{prefix}/v1/embeddings", json={"input": "a"}).status_code == 200
            assert client.head(f"{prefix}/v1/models").status_code == 200
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/embeddings-api"}]
    with pytest.raises(ConfigError, match="--root-path"):
        ServerSettings(root_path="embeddings/")
    for taken in ("/v1", "/v1/below", "/health"):  # a proxy's path and the server's own could not be told apart
        with pytest.raises(ConfigError, match=r"paths below /(v1|health) of its own"):
            make_app(encoder, ServerSettings(root_path=taken))
