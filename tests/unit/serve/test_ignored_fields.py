"""No field of a body is ignored in silence: it changes the answer, is refused, or is named in X-Ignored-Fields.

Every field of every schema, every field that a vendor documents, and a field that nobody knows are each sent to every
route that takes a body, and the answer is compared with that to the same body without the field.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from babelclip.encoder import Encoder
from babelclip.serve.app import make_app
from babelclip.serve.foreign_fields import CHANGES_VECTORS
from babelclip.serve.routes.sagemaker import Invocation
from babelclip.serve.settings import Mode, ServerSettings

from .posting_routes import posting_paths

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"
PICTURE = io.BytesIO()
Image.new("RGB", (30, 30), "red").save(PICTURE, "PNG")
RAW = base64.b64encode(PICTURE.getvalue()).decode()
URI = f"data:image/png;base64,{RAW}"
LONG = "word " * 600  # over the model's context, so that cutting it makes a difference

Body = dict[str, Any]
JINA: Body = {
    "dimensions": 64, "normalized": False, "embedding_type": "int8", "encoding_type": "int8", "encoding_format": "int8",
    "task": "retrieval.query", "late_chunking": True, "return_multivector": True, "user": "me",
    "classifier_id": "x", "texts": "other", "nobody_knows_it": 1,
    "input_type": "query", "output_dimension": 64, "output_dtype": "int8",
}  # fmt: skip
VOYAGE: Body = {
    "input_type": "query", "truncation": False, "output_dtype": "int8", "output_dimension": 64,
    "encoding_format": "base64", "output_encoding": "base64", "nobody_knows_it": 1,
}  # fmt: skip
COHERE: Body = {
    "input_type": "search_query", "images": [URI], "inputs": [{"content": [{"type": "text", "text": "x"}]}],
    "max_tokens": 3, "output_dimension": 64, "embedding_types": ["int8"], "truncate": "NONE", "priority": 3,
    "nobody_knows_it": 1,
}  # fmt: skip
SAGEMAKER: Body = {"parameters": {"normalized": True}, "input": ["x"], "model": "other", "nobody_knows_it": 1}

BODIES: list[tuple[str, Body, Body]] = [
    ("/v1/embeddings", {"model": MODEL, "input": "a dog"}, JINA),
    ("/v1/embeddings", {"model": MODEL, "input": LONG}, {"truncate": True, "truncation": True}),
    ("/v1/embeddings", {"model": MODEL, "input": "a dog", "embedding_type": "float"}, {"encoding_format": "int8"}),
    ("/v1/tokens", {"model": MODEL, "input": "a dog"}, JINA),
    ("/v1/tokens", {"model": MODEL, "input": LONG}, {"truncate": True, "truncation": True}),
    ("/v1/classify", {"model": MODEL, "input": "a dog", "labels": ["animal", "house"]}, JINA),
    ("/v1/classify", {"model": MODEL, "input": LONG, "labels": ["animal", "house"]}, {"truncate": True}),
    ("/v1/multimodalembeddings", {"model": MODEL, "inputs": [{"content": [{"type": "text", "text": LONG}]}]}, VOYAGE),
    ("/v2/embed", {"model": MODEL, "texts": [LONG]}, COHERE),
    ("/v1/embed", {"model": MODEL, "texts": ["a dog"]}, {**COHERE, "truncate": "START"}),
    (
        "/vectorize",
        {"texts": ["a dog"]},
        {"images": [RAW], "model": "other", "taskType": "x", "nobody_knows_it": 1},
    ),
    ("/invocations", {"data": ["a dog"]}, SAGEMAKER),
]
PARAMETERS: Body = {
    "dimensions": 64, "normalized": True, "embedding_type": "int8", "task": "retrieval.query", "truncate": False,
    "late_chunking": True,
}  # fmt: skip
ITEM: Body = {"detail": "low", "uuid": "1", "text": None, "type": "audio"}
"""Fields of one item, beside what it is."""


@pytest.fixture(scope="module")
def container(encoder: Encoder, running: Running) -> Iterator[httpx.Client]:
    with running(make_app(encoder, ServerSettings(mode="sagemaker"))) as client:
        yield client


@pytest.fixture
def ask(client: httpx.Client, container: httpx.Client) -> Callable[[str, Body], httpx.Response]:
    def send(path: str, body: Body) -> httpx.Response:
        return (container if path == "/invocations" else client).post(path, json=body)

    return send


Ask = Callable[[str, Body], httpx.Response]


def told(answer: httpx.Response) -> list[str]:
    return [name for name in answer.headers.get("X-Ignored-Fields", "").split(", ") if name]


def outcome(answer: httpx.Response) -> tuple[int, str]:
    """What a client sees, without what differs from one request to the next."""
    text = re.sub(r'"(request_id|id)":"[0-9a-f-]{32,36}"', "", answer.text)
    return answer.status_code, re.sub(r'"parameters":{.*}', "", text)  # SageMaker's are repeated as they came


def assert_not_silent(ask: Ask, path: str, without: Body, body: Body, name: str) -> None:
    plain, answer = ask(path, without), ask(path, body)
    assert max(plain.status_code, answer.status_code) < 500, answer.text
    if outcome(plain) == outcome(answer):
        assert answer.status_code == 200, "whether the field does anything cannot be seen"
        assert name in told(answer), f"{path}: {name} changes nothing, and only {told(answer)} are named"
        assert name not in told(plain)
    else:
        assert name not in told(answer), f"{path}: {name} makes a difference and is named as ignored"


@pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")
@pytest.mark.parametrize(("path", "body", "fields"), BODIES, ids=lambda each: each if isinstance(each, str) else "")
def test_no_field_of_a_body_is_ignored_in_silence(ask: Ask, path: str, body: Body, fields: Body) -> None:
    for name, value in fields.items():
        assert_not_silent(ask, path, body, {**body, name: value}, name)


@pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")
@pytest.mark.parametrize("name", [*PARAMETERS, "nobody_knows_it"])
def test_no_parameter_of_sagemaker_is_ignored_in_silence(ask: Ask, name: str) -> None:
    body = {"data": [LONG if name == "truncate" else "a dog"]}
    sent = {**body, "parameters": {name: PARAMETERS.get(name, 1)}}
    assert_not_silent(ask, "/invocations", body, sent, f"parameters.{name}")


PLACES: list[tuple[str, Callable[[Body], Body], str]] = [
    ("/v1/embeddings", lambda item: {"model": MODEL, "input": item}, "input"),
    ("/v1/embeddings", lambda item: {"model": MODEL, "input": ["a", item]}, "input[]"),
    ("/v1/tokens", lambda item: {"model": MODEL, "input": ["a", item]}, "input[]"),
    ("/v1/classify", lambda item: {"model": MODEL, "input": [item], "labels": ["a", "b"]}, "input[]"),
    (
        "/v1/multimodalembeddings",
        lambda item: {"model": MODEL, "inputs": [{"content": [{"type": "text", "text": "x"}, item]}]},
        "inputs[].content[]",
    ),
    ("/v2/embed", lambda item: {"model": MODEL, "inputs": [{"content": [item]}]}, "inputs[].content[]"),
    ("/invocations", lambda item: {"data": ["a", item]}, "data[]"),
]


@pytest.mark.parametrize(("path", "body", "where"), PLACES)
@pytest.mark.parametrize(
    ("item", "inside"),
    [
        ({"image": URI}, ""),
        ({"type": "image_url", "image_url": {"url": URI}}, ""),
        ({"type": "image_url", "image_url": {"url": URI}}, ".image_url"),
    ],
)
def test_no_field_of_an_item_is_ignored_in_silence(
    ask: Ask, path: str, body: Callable[[Body], Body], where: str, item: Body, inside: str
) -> None:
    for name, value in ITEM.items():
        if value is None:
            continue
        sent = {**item, "image_url": {**item["image_url"], name: value}} if inside else {**item, name: value}
        assert_not_silent(ask, path, body(item), body(sent), f"{where}{inside}.{name}")


def test_fields_beside_the_parts_of_an_input(ask: Ask) -> None:
    part = {"type": "text", "text": "x"}
    for path, body in (("/v1/multimodalembeddings", "inputs"), ("/v2/embed", "inputs"), ("/v1/embeddings", "input")):
        plain = {"model": MODEL, body: [{"content": [part]}]}
        sent = {"model": MODEL, body: [{"content": [part], "role": "user"}]}
        assert_not_silent(ask, path, plain, sent, f"{body}[].role")


def test_every_field_of_every_schema_is_among_them(client: httpx.Client, container: httpx.Client) -> None:
    tried: dict[str, set[str]] = {}
    for path, body, fields in BODIES:
        tried.setdefault(path, set()).update(body, fields)
    for server in (client, container):
        schemas = server.get("/openapi.json").json()
        for path, methods in schemas["paths"].items():
            if "requestBody" not in methods.get("post", {}):
                continue
            (content,) = methods["post"]["requestBody"]["content"].values()
            name = content["schema"]["$ref"].rpartition("/")[2]
            known = set(schemas["components"]["schemas"][name]["properties"])
            assert known <= tried[path], f"{path}: {known - tried[path]} are not tried"


def test_names_of_any_kind_and_number(client: httpx.Client) -> None:
    names = {"ümlaut": 1, "a, b": 2, "100%": 3, "\n": 4, **{f"z{number:02}": number for number in range(30)}}
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": "a", **names})
    assert told(answer) == [
        "%0A", "%C3%BCmlaut", "100%25", "a%2C b", *(f"z{number:02}" for number in range(16)), "+14 more",
    ]  # fmt: skip


PLAIN = {path: json.loads(json.dumps(body).replace(LONG, "a dog")) for path, body, _ in BODIES}
"""A body for each route."""
ALIASES = {
    "/embeddings": "/v1/embeddings",
    "/v1/embeddings/embeddings": "/v1/embeddings",
    "/multimodalembeddings": "/v1/multimodalembeddings",
}


def fields_of(client: httpx.Client, path: str) -> set[str]:
    if path == "/invocations":
        return set(Invocation.model_fields)
    schemas = client.get("/openapi.json").json()
    (content,) = schemas["paths"][path]["post"]["requestBody"]["content"].values()
    return set(schemas["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["properties"])


@pytest.mark.parametrize("mode", ["api", "sagemaker"])
def test_every_route_refuses_what_would_change_vectors_and_names_the_rest(
    encoder: Encoder, running: Running, mode: Mode
) -> None:
    """Whatever the operator says of unknown fields; with ``strict_fields`` those are refused too."""
    relaxed, strict = (make_app(encoder, ServerSettings(mode=mode, strict_fields=each)) for each in (False, True))
    paths = set(posting_paths(relaxed)) if mode == "api" else {"/invocations"}
    with running(relaxed) as client, running(strict) as strict_client:
        for path in paths:
            body = PLAIN[ALIASES.get(path, path)]
            foreign = CHANGES_VECTORS - fields_of(client, ALIASES.get(path, path))
            assert len(foreign) > 15
            refused = client.post(path, json={**body, **dict.fromkeys(foreign, "x")})
            assert (refused.status_code, {each["field"] for each in refused.json()["errors"]}) == (422, foreign)
            nulls = client.post(path, json={**body, **dict.fromkeys(foreign)})
            assert nulls.status_code == 200, (path, nulls.text)
            named = client.post(path, json={**body, "nobody_knows_it": 1})
            assert (named.status_code, told(named)) == (200, ["nobody_knows_it"]), (path, named.text)
            refused = strict_client.post(path, json={**body, "nobody_knows_it": 1})
            (error,) = refused.json()["errors"]
            assert (refused.status_code, error["field"], error["type"]) == (422, "nobody_knows_it", "extra_forbidden")


def test_what_is_not_asked_for_may_pass(client: httpx.Client) -> None:
    for path in ("/v1/classify", "/v2/embed"):
        for sent in ({"late_chunking": False}, {"dimensions": None}, {"return_multivector": False, "user": "me"}):
            assert client.post(path, json={**PLAIN[path], **sent}).status_code == 200, (path, sent)


def test_a_refusal_names_what_there_is(client: httpx.Client) -> None:
    refused = client.post("/v2/embed", json={"model": MODEL, "texts": ["a"], "dimensions": 64}).json()
    assert "output_dimension" in refused["detail"]
    several = client.post("/v1/embeddings", json={"input": "a", "embedding_types": ["int8"], "prompt_name": "query"})
    assert [each["field"] for each in several.json()["errors"]] == ["embedding_types", "prompt_name"]


def test_strict_fields_refuse_what_nobody_knows(encoder: Encoder, running: Running) -> None:
    with running(make_app(encoder, ServerSettings(strict_fields=True))) as client:
        for path, body, _ in BODIES[:-1]:
            refused = client.post(path, json={**body, "nobody_knows_it": 1})
            assert refused.status_code == 422, path
            assert refused.json()["errors"][0]["type"] == "extra_forbidden", refused.text
        item = client.post("/v1/embeddings", json={"model": MODEL, "input": [{"text": "a", "detail": 1}]})
        assert (item.status_code, item.json()["errors"][0]["field"]) == (422, "input[].detail")
        known = client.post("/v1/embeddings", json={"model": MODEL, "input": "a", "user": "me"})
        assert (known.status_code, told(known)) == (200, ["user"])
