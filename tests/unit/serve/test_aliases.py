"""Fields of one meaning: each name does what its vendor says, equal ones are one, and those that differ are refused."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import httpx
import numpy as np
import pytest

from babelclip.encoder import Encoder
from babelclip.vectors import quantize

MODEL = "babelclip-small"
LONG = "word " * 600
pytestmark = pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")
NUMBERS = {"float": "<f4", "int8": "i1", "binary": "i1", "uint8": "u1", "ubinary": "u1"}


def ask(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/v1/embeddings", json={"model": MODEL, "input": "a dog", **body})


def embedding(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]["embedding"]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("dim", [None, 64])
def test_voyages_numbers_as_its_client_reads_them(
    client: httpx.Client, encoder: Encoder, dtype: str, dim: int | None
) -> None:
    vector = encoder.encode_text("a dog", dim=dim)
    wanted = vector if dtype == "float" else quantize(vector, dtype)  # type: ignore[arg-type]
    sent = {"output_dtype": dtype, "output_dimension": dim, "input_type": None, "truncation": True}
    for encoding_format in ("base64", None, "float"):
        found = embedding(ask(client, **sent, encoding_format=encoding_format))
        if encoding_format == "base64":
            found = np.frombuffer(base64.b64decode(found), NUMBERS[dtype])
        assert len(found) == len(wanted)
        assert np.abs(np.array(found, np.float32) - wanted).max() <= (1e-6 if dtype == "float" else 1)


SAME: list[dict[str, object]] = [
    {"dimensions": 64, "output_dimension": "64"},
    {"truncate": True, "truncation": True, "input": LONG},
    {"task": "retrieval.query", "input_type": "query"},
    {"task": "retrieval.passage", "input_type": "search_document"},
    {"embedding_type": "int8", "output_dtype": "int8"},
    {"encoding_format": "int8", "output_dtype": "int8"},
]
DIFFERENT: list[dict[str, object]] = [
    {"dimensions": 64, "output_dimension": 128},
    {"truncate": False, "truncation": True},
    {"truncate": True, "truncation": False},
    {"task": "retrieval.query", "input_type": "document"},
    {"embedding_type": "int8", "output_dtype": "uint8"},
    {"encoding_type": "float", "output_dtype": "uint8"},
    {"encoding_format": "int8", "output_dtype": "binary"},
    {"embedding_type": ["int8"], "output_dtype": "int8"},
]


@pytest.mark.parametrize("fields", SAME, ids=str)
def test_names_that_say_the_same_are_one(client: httpx.Client, fields: dict[str, object]) -> None:
    whole = embedding(ask(client, **fields))
    for name in {*fields} - {"input"}:
        if name != "encoding_format":
            left = {key: value for key, value in fields.items() if key != name}
            assert embedding(ask(client, **left)) == whole


@pytest.mark.parametrize("fields", DIFFERENT, ids=str)
def test_names_that_differ_are_refused(client: httpx.Client, fields: dict[str, object]) -> None:
    for order in itertools.permutations(fields.items()):
        answer = ask(client, **dict(order))
        assert answer.status_code == 422, answer.text
        assert "it differs from" in answer.json()["detail"]
    for name in fields:
        assert ask(client, **{name: fields[name]}).status_code == 200


@pytest.mark.parametrize("name", ["truncate", "truncation"])
def test_a_long_text_is_cut_by_either_name(client: httpx.Client, name: str) -> None:
    assert len(embedding(ask(client, input=LONG, **{name: True}))) == 384
    for fields in ({}, {name: False}):
        assert ask(client, input=LONG, **fields).json()["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"
    prices = client.post("/v1/tokens", json={"input": LONG, name: True}).json()["data"]
    assert prices[0]["object"] == "price"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input_type": "poem"}, "expected one of query, document"),
        ({"output_dtype": "int4"}, "output_dtype"),
        ({"output_dimension": 0}, "from 1 to 384"),
        ({"return_multivector": True}, "one vector"),
        ({"input": []}, "empty list"),
        ({"input": [[15339, 1917]]}, "check_embedding_ctx_length=False"),
        ({"input": [15339, 1917]}, "check_embedding_ctx_length=False"),
    ],
)
def test_what_cannot_be_done_is_told(client: httpx.Client, fields: dict[str, object], said: str) -> None:
    answer = ask(client, **fields)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_names_of_the_vendors_own_server(client: httpx.Client, encoder: Encoder) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
    wanted = embedding(ask(client, input={"image": pixel}))
    for item in (
        {"type": "image_base64", "image_base64": {"base64": pixel, "mime_type": "image/png"}},
        {"type": "image", "format": "base64", "value": pixel},
        {"content": [{"type": "image", "format": "base64", "value": pixel}]},
    ):
        answer = ask(client, input=[item])
        assert embedding(answer) == wanted
        assert "X-Ignored-Fields" not in answer.headers
    assert ask(client, input=[{"type": "audio", "format": "base64", "value": pixel}]).status_code == 422
    for model in (f"jinaai/{MODEL}", "jinaai/jina-clip-v2"):
        assert ask(client, model=model).json()["model"] == MODEL
    assert ask(client, model="elsewhere/jina-clip-v2").status_code == 400
    for task in ("retrieval", "clustering"):
        assert ask(client, task=task).headers["X-Ignored-Fields"] == "task"


def test_no_model_is_named_where_one_is_served(client: httpx.Client) -> None:
    bodies: dict[str, dict[str, object]] = {
        "/v1/embeddings": {"input": "a"},
        "/v1/tokens": {"input": "a"},
        "/v1/classify": {"input": "a", "labels": ["a", "b"]},
        "/v1/multimodalembeddings": {"inputs": [{"content": ["a"]}]},
        "/v2/embed": {"texts": ["a"]},
    }
    for path, body in bodies.items():
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.headers["X-Model"]) == (200, MODEL), path
        assert client.post(path, json={**body, "model": None}).status_code == 200
