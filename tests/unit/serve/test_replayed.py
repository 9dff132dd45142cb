"""Bodies of clients that cannot run here, byte for byte as their sources write them: Go's and JavaScript's JSON.

Sources: weaviate/weaviate usecases/modulecomponents/clients/jinaai and modules/multi2vec-clip/clients;
langchain-ai/langchainjs libs/langchain-community/src/embeddings/jina.ts; jina-ai/jina-sagemaker client.py and examples.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from babelclip.encoder import Encoder
from babelclip.serve.app import make_app
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
PICTURE = io.BytesIO()
Image.new("RGB", (333, 333), "teal").save(PICTURE, "JPEG")
RAW = base64.b64encode(PICTURE.getvalue())


@pytest.fixture(scope="module")
def container(encoder: Encoder, running: Running) -> Iterator[httpx.Client]:
    with running(make_app(encoder, ServerSettings(mode="sagemaker"))) as client:
        yield client


def post(client: httpx.Client, path: str, body: bytes, kind: str = "application/json") -> httpx.Response:
    return client.post(path, content=body, headers={"Content-Type": kind, "Authorization": "Bearer key"})


def vectors(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    assert {each["object"] for each in data} == {"embedding"}
    return [each["embedding"] for each in data]


def test_weaviate_through_its_jinaai_module(client: httpx.Client, encoder: Encoder) -> None:
    body = (
        b'{"input":[{"text":"a \\u003cred\\u003e dog"},{"text":"ein Hund"},{"image":"' + RAW + b'"}],'
        b'"model":"jina-clip-v2","embedding_type":"float","normalized":true,"dimensions":64}'
    )
    found = vectors(post(client, "/v1/embeddings", body))
    assert np.allclose(found[:2], encoder.encode_text(["a <red> dog", "ein Hund"], dim=64), atol=1e-5)
    assert np.allclose(found[2], encoder.encode_image(PICTURE.getvalue(), dim=64), atol=1e-5)
    documents = (
        b'{"input":["ein Hund"],"model":"jina-clip-v2","embedding_type":"float","normalized":true,"task":"",'
        b'"dimensions":384}'
    )
    query = documents.replace(b'"task":""', b'"task":"retrieval.query"')
    for body in (documents, query):
        assert np.allclose(vectors(post(client, "/v1/embeddings", body))[0], encoder.encode_text("ein Hund"), atol=1e-5)
    refused = post(client, "/v1/embeddings", documents.replace(b"384", b"99999")).json()
    assert isinstance(refused["detail"], str)  # Go reads nothing else there


def test_weaviate_through_its_clip_module(client: httpx.Client, encoder: Encoder) -> None:
    body = b'{"texts":["a dog","ein Hund"],"images":["' + RAW + b'"]}'
    answer = post(client, "/vectorize", body).json()
    assert np.allclose(answer["textVectors"], encoder.encode_text(["a dog", "ein Hund"]), atol=1e-5)
    assert np.allclose(answer["imageVectors"], [encoder.encode_image(PICTURE.getvalue())], atol=1e-5)
    assert answer["error"] == ""
    lone = post(client, "/vectorize", b'{"texts":["a dog"],"images":[]}').json()
    assert (len(lone["textVectors"]), lone["imageVectors"]) == (1, [])
    assert client.get("/.well-known/ready").status_code == 204
    assert client.get("/.well-known/live").status_code == 204
    assert isinstance(client.get("/meta").json(), dict)


def test_langchain_in_javascript(client: httpx.Client, encoder: Encoder) -> None:
    old = '{"input":["a dog","黎明的桥"],"model":"jina-clip-v2"}'
    new = (
        '{"model":"jina-clip-v2","input":[{"text":"a dog"},{"text":"黎明的桥"}],"task":"retrieval.passage",'
        '"normalized":true,"dimensions":384}'
    )
    for body in (old, new):
        found = vectors(post(client, "/v1/embeddings", body.encode()))
        assert np.allclose(found, encoder.encode_text(["a dog", "黎明的桥"]), atol=1e-5)


def test_jinas_client_for_sagemaker(container: httpx.Client, encoder: Encoder) -> None:
    wanted = encoder.encode_text(["a dog", "ein Hund"], normalize=False)
    lone = post(container, "/invocations", b'{"data": {"text": "a dog"}}').json()["data"]
    assert np.allclose([each["embedding"] for each in lone], wanted[:1], atol=1e-4)
    several = b'{"data": [{"text": "a dog"}, {"text": "ein Hund"}], "parameters": {"dimensions": null}}'
    found = post(container, "/invocations", several).json()
    assert np.allclose([each["embedding"] for each in found["data"]], wanted, atol=1e-4)
    assert found["parameters"] == {"dimensions": None, "task": None}


def test_a_batch_job_of_sagemaker(container: httpx.Client, encoder: Encoder) -> None:
    rows = b"286076113143433cb5f2655c5f70a30e,the cat is in my house,,\n386076113143433cb5f2655c5f70a30e,,," + RAW
    answer = post(container, "/invocations", rows, "text/csv").json()["data"]
    assert [each["id"][:2] for each in answer] == ["28", "38"]
    assert [each["usage"]["total_tokens"] for each in answer][1] == 4000
    text = encoder.encode_text("the cat is in my house", normalize=False)
    assert np.allclose(answer[0]["embedding"], text, atol=1e-4)
    image = encoder.encode_image(PICTURE.getvalue(), normalize=False)
    assert np.allclose(answer[1]["embedding"], image, atol=1e-4)
