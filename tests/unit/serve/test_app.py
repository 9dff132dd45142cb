"""The application on a real HTTP server, asked by httpx."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from babelclip.encoder import Encoder
from babelclip.serve.access.authenticator import NoAuth
from babelclip.serve.access.key_headers import KEY_HEADERS
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access.rate_limits import Rates
from babelclip.serve.app import application, make_app
from babelclip.serve.inference.served_model import serve_encoder
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"


PICTURE = io.BytesIO()
Image.new("RGB", (30, 30), "red").save(PICTURE, "PNG")
RAW = base64.b64encode(PICTURE.getvalue()).decode()


def ask(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/v1/embeddings", json={"model": MODEL, **body})


def test_a_mixed_list_in_order_as_the_library_gives_it(client: httpx.Client, encoder: Encoder) -> None:
    answer = ask(client, input=["a red square", {"image": RAW}, {"text": "ein Hund"}, f"data:image/png;base64,{RAW}"])
    body = answer.json()
    assert answer.status_code == 200, body
    assert [each["index"] for each in body["data"]] == [0, 1, 2, 3]
    assert {each["object"] for each in body["data"]} == {"embedding"}
    texts = encoder.encode_text(["a red square", "ein Hund"])
    image = encoder.encode_image(PICTURE.getvalue())
    for each, wanted in zip(body["data"], (texts[0], image, texts[1], image), strict=True):
        assert np.allclose(each["embedding"], wanted, atol=1e-5)
    tokens = sum(map(len, encoder.tokenize(["a red square", "ein Hund"])))
    assert body["usage"] == {"total_tokens": 8000 + tokens, "prompt_tokens": 8000 + tokens, "image_tokens": 8000}
    assert body["model"] == MODEL
    assert answer.headers["X-Model"] == MODEL
    assert len(answer.headers["X-Request-Id"]) == 32


def test_a_lone_item_a_served_name_and_the_aliases(client: httpx.Client) -> None:
    for path in ("/embeddings", "/v1/embeddings/embeddings", "/v1/embeddings"):
        body = client.post(path, json={"model": "jina-clip-v2", "texts": "hi", "dimensions": "64"}).json()
        assert body["model"] == MODEL  # never the name that was asked for
        assert len(body["data"][0]["embedding"]) == 64


def test_forms_widths_and_what_clients_send_unasked(client: httpx.Client, encoder: Encoder) -> None:
    answer = ask(
        client, input="hi", embedding_type=["base64", "ubinary"], encoding_format="base64", dimensions=32,
        task="retrieval.passage", late_chunking=False, user="me", priority=3,
    )  # fmt: skip
    assert answer.status_code == 200
    assert answer.headers["X-Ignored-Fields"] == "encoding_format, priority, task, user"
    embedding = answer.json()["data"][0]["embedding"]
    wanted = encoder.encode_text("hi", dim=32)
    assert np.allclose(np.frombuffer(base64.b64decode(embedding["base64"]), "<f4"), wanted, atol=1e-6)
    assert embedding["ubinary"] == np.packbits(wanted > 0).tolist()
    assert "X-Warning" not in answer.headers
    odd = ask(client, input="hi", dimensions=100)
    assert len(odd.json()["data"][0]["embedding"]) == 100
    assert "not trained for 100" in odd.headers["X-Warning"]
    raw = ask(client, input="hi", normalized=False).json()["data"][0]["embedding"]
    assert np.allclose(raw, encoder.encode_text("hi", normalize=False), atol=1e-4)


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"input": "a", "model": "gpt"}, 400, "INPUT_MODEL_NOT_FOUND", f"there is {MODEL}, jina-clip-v2"),
        ({"input": "word " * 600}, 400, "INPUT_TOKEN_LIMIT_EXCEEDED", "truncate"),
        ({}, 422, "VALIDATION_ERROR", "input"),
        ({"input": [1, 2]}, 422, "VALIDATION_ERROR", "token ids"),
        ({"input": "a", "dimensions": 5000}, 422, "VALIDATION_ERROR", "from 1 to 384"),
        ({"input": "a", "task": "poetry"}, 422, "VALIDATION_ERROR", "retrieval.query"),
        ({"input": "a", "late_chunking": True}, 422, "VALIDATION_ERROR", "late_chunking"),
        ({"input": "a", "embedding_type": "int4"}, 422, "VALIDATION_ERROR", "'int4'"),
        ({"input": {"url": "https://example.org/a.png"}}, 422, "VALIDATION_ERROR", "this server fetches none"),
        ({"input": [{"bytes": base64.b64encode(b"words").decode()}]}, 422, "VALIDATION_ERROR", "none of the accepted"),
        ({"input": ["a"] * 21}, 413, "INPUT_SIZE_LIMIT_EXCEEDED", "the limit is 20"),
        ({"input": "a" * 500_000}, 413, "INPUT_SIZE_LIMIT_EXCEEDED", "400,000 bytes"),
    ],
)  # fmt: skip
def test_errors_have_one_body(client: httpx.Client, body: dict[str, object], status: int, code: str, said: str) -> None:
    answer = ask(client, **body)
    content = answer.json()
    assert (answer.status_code, content["code"]) == (status, code), content
    assert said in content["detail"]
    assert content["message"] == content["detail"] == content["error"]["message"]
    assert content["request_id"] == answer.headers["X-Request-Id"]


def test_a_body_in_pieces_is_counted_too(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", content=(b"x" * 10_000 for _ in range(50)))
    assert answer.status_code == 413


def test_per_item_errors(client: httpx.Client) -> None:
    good, bad = {"image": RAW}, {"image": base64.b64encode(PICTURE.getvalue()[:40]).decode()}
    whole = client.post("/v1/embeddings", json={"model": MODEL, "input": ["a", bad, good]})
    assert whole.status_code == 422
    assert whole.json()["errors"][0]["field"] == "input[1]"
    unreadable = {"image": "no base64 at all"}
    body = {"model": MODEL, "input": ["a", bad, good, unreadable, 7]}
    items = client.post("/v1/embeddings?on_error=item", json=body)
    assert items.status_code == 200
    kinds = ["embedding", "error", "embedding", "error", "error"]
    assert [each["object"] for each in items.json()["data"]] == kinds
    assert items.json()["data"][3]["code"] == "VALIDATION_ERROR"
    assert items.json()["usage"]["image_tokens"] == 4000


def test_an_empty_text_and_no_json(client: httpx.Client) -> None:
    assert ask(client, input="").status_code == 200
    empty = ask(client, input=[])
    assert (empty.status_code, empty.json()["detail"]) == (422, "input: expected one item or more, found an empty list")
    answer = client.post("/v1/embeddings", content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")


def test_models_and_health(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [each["id"] for each in listed] == [MODEL, "jina-clip-v2"]
    assert {each["runs"] for each in listed} == {MODEL}
    assert client.get(f"/v1/models/{MODEL}").json()["dimensions"] == 384
    assert client.get("/v1/models/none").json()["code"] == "RESOURCE_NOT_FOUND"
    assert [client.get(path).status_code for path in ("/live", "/ready", "/health", "/openapi.json")] == [200] * 4


def test_a_request_id_of_the_clients_is_kept(client: httpx.Client) -> None:
    assert client.get("/live", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    assert client.get("/live", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"] != "a b"


def test_keys_are_asked_for_limited_and_charged(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        key, secret = keys.add("one", default_dim=64, rates=Rates(requests_per_minute=5), balance=10_000)

        def send(content: object, secret: str = secret) -> httpx.Response:
            headers = {"Authorization": f"Bearer {secret}"}
            return client.post("/v1/embeddings", json={"model": MODEL, "input": content}, headers=headers)

        nobody = ask(client, input="hi")
        assert (nobody.status_code, nobody.json()["code"]) == (401, "AUTH_MISSING_API_KEY")
        assert nobody.headers["WWW-Authenticate"] == "Bearer"
        assert send("hi", secret[:-1] + "x").json()["code"] == "AUTH_INVALID_API_KEY"

        answer = send(["hi", {"image": RAW}])
        used = answer.json()["usage"]["total_tokens"]
        assert len(answer.json()["data"][0]["embedding"]) == 64
        assert answer.headers["X-RateLimit-Remaining-Requests"] == "4"
        assert keys.get(key.id).balance == 10_000 - used

        broken = {"image": base64.b64encode(PICTURE.getvalue()[:40]).decode()}
        assert send([{"image": RAW}, broken]).status_code == 422
        assert keys.get(key.id).balance == 10_000 - used  # what was not answered costs nothing

        spent = send([{"image": RAW}, {"image": RAW}])
        assert (spent.status_code, spent.json()["code"]) == (403, "AUTHZ_INSUFFICIENT_BALANCE")
        keys.top_up(key.id, 100_000)
        assert send([{"image": RAW}, {"image": RAW}]).status_code == 200
        assert keys.get(key.id).balance == 110_000 - used - 8000

        assert send("hi").status_code == 200
        fast = send("hi")
        assert (fast.status_code, fast.json()["code"]) == (429, "RATE_REQUEST_LIMIT_EXCEEDED")
        assert int(fast.headers["Retry-After"]) > 0
        keys.revoke(key.id)
        assert send("hi").status_code == 401


@pytest.mark.parametrize("name", ["Authorization", *KEY_HEADERS])
def test_a_key_in_any_header_that_clients_send(name: str, encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        _, secret = keys.add("one")

        def status(**headers: str) -> int:
            body = {"model": MODEL, "input": "hi"}
            return client.post("/v1/embeddings", json=body, headers=headers).status_code

        plain = "" if name != "Authorization" else "Bearer "
        assert status(**{name: plain + secret}) == 200
        assert status(**{name: plain + secret[:-1]}) == 401
        if name != "Authorization":
            assert status(**{name: secret, "Authorization": "Basic cHJveHk6cHJveHk="}) == 200
            assert status(**{name: secret, "Authorization": "Bearer another"}) == 401


class Failing:
    """A backend whose model breaks at one word."""

    is_ready = True

    def __init__(self, backend: object) -> None:
        self.backend = backend

    async def run(self, kind: str, items: Sequence[str | bytes], task: str | None = None) -> list[object]:
        if "break" in items:
            raise RuntimeError("what the model says is nobody's business")
        return await self.backend.run(kind, items, task)  # type: ignore[attr-defined]


def test_a_model_that_fails_is_no_fault_of_the_client(encoder: Encoder, running: Running) -> None:
    model = serve_encoder(encoder, ServerSettings().image_limits)
    model.backend = Failing(model.backend)  # type: ignore[assignment]
    with running(application({MODEL: model}, ServerSettings(), NoAuth())) as client:
        answer = ask(client, input=["good", "break"])
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
        assert "business" not in answer.text
        items = client.post("/v1/embeddings?on_error=item", json={"model": MODEL, "input": ["good", "break", "fine"]})
        assert [each["object"] for each in items.json()["data"]] == ["embedding", "error", "embedding"]
        assert items.json()["data"][1]["code"] == "INTERNAL_ERROR"
