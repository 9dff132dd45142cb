"""A container on SageMaker, asked as Jina's own is."""

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
from babelclip.serve.errors import InvalidInput
from babelclip.serve.routes.sagemaker import read_csv_rows
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
PICTURE = io.BytesIO()
Image.new("RGB", (333, 333), "black").save(PICTURE, "JPEG")
RAW = base64.b64encode(PICTURE.getvalue()).decode()


@pytest.fixture(scope="module")
def container(encoder: Encoder, running: Running) -> Iterator[httpx.Client]:
    with running(make_app(encoder, ServerSettings(mode="sagemaker"))) as client:
        yield client


def test_jinas_body(container: httpx.Client, encoder: Encoder) -> None:
    body = (
        b'{"data": [{"text": "How is the weather today?"}, {"bytes": "' + RAW.encode() + b'"}], '
        b'"parameters": {"task": "text-matching", "dimensions": "64"}}'
    )  # as its client writes it
    answer = container.post("/invocations", content=body, headers={"Content-Type": "application/json"}).json()
    text, image = answer["data"]
    assert np.allclose(
        text["embedding"], encoder.encode_text("How is the weather today?", dim=64, normalize=False), atol=1e-4
    )
    assert np.allclose(image["embedding"], encoder.encode_image(PICTURE.getvalue(), dim=64, normalize=False), atol=1e-4)
    assert len(text["id"]) == 32
    assert text["usage"]["total_tokens"] == len(encoder.tokenize("How is the weather today?")[0])
    assert image["usage"]["total_tokens"] == 4000
    assert answer["parameters"] == {"dimensions": 64.0, "task": "text-matching"}


def test_a_body_of_the_api_and_a_batch(container: httpx.Client, encoder: Encoder) -> None:
    answer = container.post("/invocations", json={"input": ["a dog"], "dimensions": 32}).json()
    assert np.allclose(answer["data"][0]["embedding"], encoder.encode_text("a dog", dim=32), atol=1e-5)
    rows = f'id,text,image\nx,"a dog, two cats",\ny,,{RAW}\n'
    answer = container.post("/invocations", content=rows, headers={"Content-Type": "text/csv; charset=utf-8"}).json()
    assert [each["id"] for each in answer["data"]] == ["x", "y"]
    wanted = encoder.encode_text("a dog, two cats", normalize=False)
    assert np.allclose(answer["data"][0]["embedding"], wanted, atol=1e-4)
    assert answer["data"][1]["usage"]["total_tokens"] == 4000


def test_rows() -> None:
    assert read_csv_rows(b"a,words\r\nb,,https://x/y.png\r\n", 512) == (
        ["a", "b"],
        [{"text": "words"}, {"url": "https://x/y.png"}],
    )
    assert read_csv_rows(b"text\nuno\ndos\n", 512) == (["0", "1"], [{"text": "uno"}, {"text": "dos"}])
    assert read_csv_rows(b"", 512) == ([], [])
    image = b"A" * 1_000_000
    assert read_csv_rows(b"a,,," + image, 512) == (["a"], [{"bytes": image.decode()}])
    with pytest.raises(InvalidInput, match=r"data\[0\].*5 columns"):
        read_csv_rows(b"a,b,c,d,e\n", 512)
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_csv_rows(b"\xff", 512)


def test_only_its_own_paths_answer(container: httpx.Client) -> None:
    assert container.get("/ping").status_code == 200
    assert container.get("/ready").status_code == 200
    assert container.post("/v1/embeddings", json={"input": "a"}).status_code == 404


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "expected JSON"), (b"[]", "expected"), (b'{"data": 3}', "data"), (b'{"data": [{"audio": "x"}]}', "data[0]"),
     (b'{"data": ["a"], "parameters": {"dimensions": 9999}}', "parameters.dimensions")],
)  # fmt: skip
def test_what_is_wrong_is_told(container: httpx.Client, content: bytes, said: str) -> None:
    answer = container.post("/invocations", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_api_has_none_of_it(client: httpx.Client) -> None:
    assert client.get("/ping").status_code == 404
    assert client.post("/invocations", json={"data": []}).status_code == 404
