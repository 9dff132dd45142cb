"""OpenAI's contract at its edges: the most items, empty lists, token ids, widths and forms that are none."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from babelclip.encoder import Encoder
from babelclip.serve.app import make_app
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"
MOST = 2048  # items of a request in OpenAI's contract
SETTING = "check_embedding_ctx_length=False"


@pytest.fixture(scope="module")
def plain(encoder: Encoder, running: Running) -> Iterator[httpx.Client]:
    """A server as it is by default."""
    with running(make_app(encoder)) as client:
        yield client


def ask(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/v1/embeddings", json={"model": MODEL, "input": "a dog", **body})


def test_as_many_items_as_the_contract_has(plain: httpx.Client, encoder: Encoder) -> None:
    texts = ["a dog", "a cat", "", "ein Hund"] * (MOST // 4)
    data = ask(plain, input=texts, encoding_format="base64").json()["data"]
    assert [each["index"] for each in data] == list(range(MOST))
    found = np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in data])
    assert np.allclose(found, np.tile(encoder.encode_text(texts[:4]), (MOST // 4, 1)), atol=1e-5)
    refused = ask(plain, input=[*texts, "one more"])
    assert (refused.status_code, refused.json()["code"]) == (413, "INPUT_SIZE_LIMIT_EXCEEDED")
    assert "2,048" in refused.json()["detail"]


EMPTY: dict[str, dict[str, object]] = {
    "/v1/embeddings": {"input": []},
    "/v1/tokens": {"input": []},
    "/v1/classify": {"input": [], "labels": ["a", "b"]},
    "/v1/multimodalembeddings": {"inputs": []},
    "/v1/embed": {"texts": []},
    "/v2/embed": {"texts": []},
}


@pytest.mark.parametrize("path", EMPTY)
def test_an_empty_list_is_told(plain: httpx.Client, path: str) -> None:
    refused = plain.post(path, json={"model": MODEL, **EMPTY[path]})
    assert refused.status_code == 422
    assert "found an empty list" in refused.json()["detail"]


TOKENS: list[object] = [
    [1, 2],
    [-1],
    [7],
    [[1, 2], [3]],
    [[9906]],
    [[1], [2]],
    [[1, 2]] * MOST,
    ["a", [1, 2]],
    ["a", [5]],
]
"""One text as ids, several, single ids, as many as there may be, and beside texts."""


@pytest.mark.parametrize("sent", TOKENS, ids=lambda sent: str(sent)[:20])
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/classify"])
def test_token_ids_are_refused_by_the_clients_setting(plain: httpx.Client, path: str, sent: object) -> None:
    more = {"labels": ["a", "b"]} if path == "/v1/classify" else {}
    refused = plain.post(path, json={"model": MODEL, "input": sent, **more})
    assert refused.status_code == 422
    assert SETTING in refused.json()["detail"]
    assert len(refused.content) < 4000, "one sentence, however many items there are"


WIDTH_FIELDS = [
    ("/v1/embeddings", "dimensions", {"input": "a"}),
    ("/v1/embeddings", "output_dimension", {"input": "a"}),
    ("/v2/embed", "output_dimension", {"texts": ["a"]}),
    ("/v1/embed", "output_dimension", {"texts": ["a"]}),
    ("/v1/multimodalembeddings", "output_dimension", {"inputs": [{"content": ["a"]}]}),
    ("/invocations", "dimensions", {"data": ["a"]}),
]
NO_WIDTHS = [0, -1, 385, 10**30, 64.5, True, False, "x", "", "1e2", "²", [64], {}]


@pytest.fixture(scope="module")
def container(encoder: Encoder, running: Running) -> Iterator[httpx.Client]:
    with running(make_app(encoder, ServerSettings(mode="sagemaker"))) as client:
        yield client


@pytest.mark.parametrize(("path", "name", "body"), WIDTH_FIELDS)
def test_what_is_no_width_is_refused(
    plain: httpx.Client, container: httpx.Client, path: str, name: str, body: dict[str, object]
) -> None:
    def send(width: object) -> httpx.Response:
        if path == "/invocations":
            return container.post(path, json={**body, "parameters": {name: width}})
        return plain.post(path, json={"model": MODEL, **body, name: width})

    for width in NO_WIDTHS:
        refused = send(width)
        assert refused.status_code == 422, (width, refused.text[:200])
        assert [each["field"].split(".")[-1] for each in refused.json()["errors"]] == [name], width
        assert "a whole number" in refused.json()["detail"]
    for width in (1, 384, 64.0, "64", None):
        assert send(width).status_code == 200, width


def test_a_form_that_is_none_is_refused_and_the_others_named(plain: httpx.Client) -> None:
    for name, form in itertools.product(("encoding_format", "embedding_type"), ("Float", "bfloat16", "", [], ["x"])):
        refused = ask(plain, **{name: form})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, name), form
        assert "float, base64" in refused.json()["detail"]
    assert isinstance(ask(plain, encoding_format="float").json()["data"][0]["embedding"], list)
    assert isinstance(ask(plain, encoding_format="base64").json()["data"][0]["embedding"], str)
