"""Other vendors' shapes over HTTP, and prices and labels in ours."""

from __future__ import annotations

import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from babelclip.encoder import Encoder
from babelclip.vectors import finish, quantize

MODEL = "babelclip-small"
PICTURE = io.BytesIO()
Image.new("RGB", (600, 30), "red").save(PICTURE, "WEBP")
RAW = base64.b64encode(PICTURE.getvalue()).decode()
URI = f"data:image/webp;base64,{RAW}"


def test_prices_without_embedding(client: httpx.Client, encoder: Encoder) -> None:
    body = {"model": MODEL, "input": ["a dog", {"image": RAW}, "word " * 600]}
    answer = client.post("/v1/tokens", json=body).json()
    text, image, long = answer["data"]
    assert (text["kind"], text["tokens"]) == ("text", len(encoder.tokenize("a dog")[0]))
    assert (image["kind"], image["tokens"]) == ("image", 8000)
    assert long["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"
    assert answer["usage"]["total_tokens"] == text["tokens"] + 8000


def test_labels(client: httpx.Client, encoder: Encoder) -> None:
    labels = ["a red picture", "a dog", "a dog"]
    body = {"model": MODEL, "input": [{"image": RAW}, "ein Hund"], "labels": labels}
    answer = client.post("/v1/classify", json=body).json()
    image, text = answer["data"]
    assert (image["object"], image["index"], text["index"]) == ("classification", 0, 1)
    assert text["prediction"] == "a dog"
    assert [each["label"] for each in text["predictions"]] == ["a red picture", "a dog"]
    assert sum(each["score"] for each in image["predictions"]) == pytest.approx(1)
    assert text["score"] == max(each["score"] for each in text["predictions"])
    cosines = encoder.encode_image(PICTURE.getvalue()) @ encoder.encode_text(labels[:2]).T
    assert encoder.logit_scale is not None
    odds = np.exp(encoder.logit_scale * (cosines[0] - cosines[1]))
    assert image["predictions"][0]["score"] == pytest.approx(float(odds / (1 + odds)), abs=1e-4)
    assert client.post("/v1/classify", json={**body, "labels": ["one"]}).status_code == 422
    assert client.post("/v1/classify", json={**body, "labels": [str(n) for n in range(513)]}).status_code == 413
    assert client.post("/v1/classify", json={**body, "input": []}).status_code == 422


def test_voyage(client: httpx.Client, encoder: Encoder) -> None:
    parts = [{"type": "text", "text": "a red picture"}, {"type": "image_base64", "image_base64": URI}]
    body = {"model": MODEL, "inputs": [{"content": parts}, {"content": parts[:1]}, {"content": parts[1:]}]}
    answer = client.post("/v1/multimodalembeddings", json={**body, "encoding_format": "base64"}).json()
    found = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in answer["data"]]
    text, image = encoder.encode_text("a red picture"), encoder.encode_image(PICTURE.getvalue())
    fused = finish(((text + image) / 2)[None])[0]
    for got, wanted in zip(found, (fused, text, image), strict=True):
        assert np.allclose(got, wanted, atol=1e-5)
    assert answer["usage"]["total_tokens"] == answer["usage"]["text_tokens"] + 16000
    assert answer["usage"]["image_pixels"] == 2 * 600 * 30
    small = {**body, "output_dtype": "int8", "output_dimension": 64}
    plain = client.post("/v1/multimodalembeddings", json=small).json()
    assert np.abs(np.array(plain["data"][1]["embedding"]) - quantize(text[:64], "int8")).max() <= 1
    wrong = client.post("/v1/multimodalembeddings", json={"model": MODEL, "inputs": [{"content": [{"pdf": "x"}]}]})
    assert wrong.json()["errors"][0]["field"] == "inputs[0].content[0].pdf"


def test_cohere(client: httpx.Client, encoder: Encoder) -> None:
    body = {"model": MODEL, "input_type": "search_document", "embedding_types": ["float", "ubinary"]}
    answer = client.post("/v2/embed", json={**body, "texts": ["a dog", "ein Hund"], "output_dimension": 64}).json()
    wanted = encoder.encode_text(["a dog", "ein Hund"], dim=64)
    assert np.allclose(answer["embeddings"]["float"], wanted, atol=1e-5)
    assert answer["embeddings"]["ubinary"] == np.packbits(wanted > 0, axis=1).tolist()
    assert answer["texts"] == ["a dog", "ein Hund"]
    images = client.post("/v2/embed", json={"model": MODEL, "images": [URI]}).json()
    assert np.allclose(images["embeddings"]["float"][0], encoder.encode_image(PICTURE.getvalue()), atol=1e-5)
    inputs = [{"content": [{"type": "image_url", "image_url": {"url": URI}}]}]
    assert (
        client.post("/v2/embed", json={"model": MODEL, "inputs": inputs}).json()["embeddings"] == images["embeddings"]
    )
    for wrong in ({}, {"texts": ["a"], "images": [URI]}, {"texts": ["a"], "truncate": "START"}):
        refused = client.post("/v2/embed", json={"model": MODEL, **wrong})
        assert refused.status_code == 422
        assert refused.json()["message"]


def test_cohere_version_1(client: httpx.Client, encoder: Encoder) -> None:
    body = {"model": MODEL, "input_type": "search_document", "texts": ["a dog", "ein Hund"]}
    plain = client.post("/v1/embed", json=body).json()
    assert (plain["response_type"], plain["meta"]["api_version"]["version"]) == ("embeddings_floats", "1")
    assert np.allclose(plain["embeddings"], encoder.encode_text(["a dog", "ein Hund"]), atol=1e-5)
    typed = client.post("/v1/embed", json={**body, "embedding_types": ["float"]}).json()
    assert (typed["response_type"], typed["embeddings"]["float"]) == ("embeddings_by_type", plain["embeddings"])


def test_weaviate(client: httpx.Client, encoder: Encoder) -> None:
    answer = client.post("/vectorize", json={"texts": ["a dog"], "images": [RAW]}).json()
    assert np.allclose(answer["textVectors"], encoder.encode_text(["a dog"]), atol=1e-5)
    assert np.allclose(answer["imageVectors"], encoder.encode_image([PICTURE.getvalue()]), atol=1e-5)
    assert client.post("/vectorize", json={"texts": ["a dog"]}).json()["imageVectors"] == []
    assert client.get("/meta").json()["model"] == MODEL
    assert [client.get(f"/.well-known/{name}").status_code for name in ("live", "ready")] == [204, 204]
