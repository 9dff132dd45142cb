"""Bodies that nobody would write: what the contract allows is answered, all else is refused, and nothing is a 5xx."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

MODEL = "babelclip-small"
WIDTH = 384
SLOW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def _png(side: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (side, 90, 90)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


RAW = st.sampled_from([_png(1), _png(30)])
URI = RAW.map(lambda raw: f"data:image/png;base64,{raw}")
# A JSON text may hold half of a surrogate pair; that is tested on its own.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(lambda text: text[:5].lower() != "data:")
ITEMS = st.one_of(
    WORDS,
    URI,
    st.builds(lambda text: {"text": text}, WORDS),
    st.builds(lambda raw: {"image": raw}, RAW | URI),
    st.builds(lambda uri: {"url": uri}, URI),
    st.builds(lambda raw: {"bytes": raw}, RAW),
    st.builds(lambda text: {"type": "text", "text": text}, WORDS),
    st.builds(lambda uri: {"type": "image_url", "image_url": {"url": uri}}, URI),
    st.builds(lambda uri: [{"type": "image_base64", "image_base64": uri}], URI),
    st.builds(lambda text: {"content": [{"type": "text", "text": text}]}, WORDS),
)
FORMS = st.sampled_from(["float", "base64", "binary", "ubinary", "int8", "uint8"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "dimensions": st.integers(1, WIDTH) | st.integers(1, WIDTH).map(str) | st.none(),
        "embedding_type": FORMS | st.lists(FORMS, min_size=1, max_size=3) | st.none(),
        "encoding_format": st.sampled_from(["float", "base64"]),
        "normalized": st.booleans(),
        "task": st.sampled_from(["retrieval.query", "retrieval.passage", "text-matching", "separation", None]),
        "late_chunking": st.just(False) | st.none(),
        "truncate": st.booleans(),
        "user": st.text(max_size=5),
        "priority": st.integers(),
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def numbers(embedding: Any, form: str) -> int:
    """How many numbers an embedding holds."""
    return len(base64.b64decode(embedding)) // 4 if form == "base64" else len(embedding)


@SLOW
@given(items=ITEMS | st.lists(ITEMS, min_size=1, max_size=6), options=OPTIONS)
def test_what_the_contract_allows_is_answered(client: httpx.Client, items: Any, options: dict[str, Any]) -> None:
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": items, **options})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    count = len(items) if isinstance(items, list) else 1
    assert [each["index"] for each in body["data"]] == list(range(count))
    width = int(options.get("dimensions") or WIDTH)
    asked = options.get("embedding_type") or options.get("encoding_format") or "float"
    for each in body["data"]:
        by_form = each["embedding"] if isinstance(asked, list) else {asked: each["embedding"]}
        assert set(by_form) == ({*asked} if isinstance(asked, list) else {asked})
        for form, embedding in by_form.items():
            wanted = -(-width // 8) if form in ("binary", "ubinary") else width
            assert numbers(embedding, form) == wanted
        if "float" in by_form and options.get("normalized", True):
            assert np.linalg.norm(by_form["float"]) == pytest.approx(1, abs=1e-4)
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] >= body["usage"]["image_tokens"]


@SLOW
@given(body=JSON)
@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/tokens", "/v1/classify", "/v1/multimodalembeddings", "/v2/embed"]
)
def test_anything_else_is_refused(client: httpx.Client, path: str, body: Any) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code in (400, 413, 422), answer.text
    assert answer.json()["detail"]


@SLOW
@given(body=st.dictionaries(st.sampled_from(["input", "model", "dimensions", "task", "labels", "texts", "inputs",
       "embedding_type", "normalized", "images", "content", "truncate", "late_chunking"]), JSON))  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/classify", "/v1/multimodalembeddings", "/v2/embed", "/vectorize"]
)
def test_fields_of_any_kind_are_no_failure(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = client.post(path, json={"model": MODEL, **body})
    assert answer.status_code in (200, 400, 413, 422), answer.text


@SLOW
@given(content=st.binary(max_size=60))
def test_bytes_are_no_failure(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/v1/embeddings", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


@pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")
@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\u202e", "a" * 100_000, "\n" * 1000, "👩‍👩‍👧‍👦" * 50])
def test_texts_at_the_edge(client: httpx.Client, text: str) -> None:
    content = json.dumps({"model": MODEL, "input": text, "truncate": True})
    answer = client.post("/v1/embeddings", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == (422 if text == "\ud800" else 200), answer.text
