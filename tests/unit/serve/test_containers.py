"""What Weaviate's module and SageMaker send, beyond one call: many, odd and long texts, other widths, twenty at once.

Neither runs here. Their pages of ``docs/clients`` hold these requests; ``tests/clients/test_page_coverage.py`` asks
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from babelclip.arrays import Vectors
from babelclip.encoder import Encoder
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.app import make_app
from babelclip.serve.settings import ServerSettings
from babelclip.vectors import quantize

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
pytestmark = pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")
PATHS = ("/vectorize", "/invocations")
LONG = "word " * 600
WIDTH = 64


@pytest.fixture(scope="module")
def clients(encoder: Encoder, running: Running) -> Iterator[dict[str, httpx.Client]]:
    with ExitStack() as stack:
        api, container = make_app(encoder), make_app(encoder, ServerSettings(mode="sagemaker"))
        found = [stack.enter_context(running(app)) for app in (api, container)]
        yield dict(zip(PATHS, found, strict=True))


def body(path: str, texts: list[str]) -> dict[str, object]:
    return {"texts": texts, "images": []} if path == "/vectorize" else {"data": [{"text": text} for text in texts]}


def vectors(answer: httpx.Response) -> Vectors:
    content = answer.json()
    assert answer.status_code == 200, content
    if "textVectors" in content:
        return np.array(content["textVectors"], np.float32)
    return np.array([each["embedding"] for each in content["data"]], np.float32)


def wanted(encoder: Encoder, path: str, texts: list[str]) -> Vectors:
    return encoder.encode_text(texts, normalize=path == "/vectorize")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("texts", [["dog"] * 300 + ["cat"] * 300, ["", LONG, "a dog"]], ids=len)
def test_many_empty_and_long_texts(
    clients: dict[str, httpx.Client], encoder: Encoder, path: str, texts: list[str]
) -> None:
    found = vectors(clients[path].post(path, json=body(path, texts)))
    assert np.allclose(found, wanted(encoder, path, texts), atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_twenty_at_once(clients: dict[str, httpx.Client], encoder: Encoder, path: str) -> None:
    texts = [f"text {n}" for n in range(20)]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda each: vectors(clients[path].post(path, json=body(path, [each]))), texts))
    assert np.allclose(np.concatenate(found), wanted(encoder, path, texts), atol=1e-4)


def test_a_width_for_weaviate_is_the_keys(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        _, secret = keys.add("weaviate", default_dim=WIDTH)
        answer = client.post("/vectorize", json=body("/vectorize", ["a dog"]), headers={"X-API-Key": secret})
        assert np.allclose(vectors(answer), encoder.encode_text(["a dog"], dim=WIDTH), atol=1e-5)


def test_a_width_and_a_type_for_sagemaker(clients: dict[str, httpx.Client], encoder: Encoder) -> None:
    parameters = {"dimensions": WIDTH, "embedding_type": "int8", "normalized": True}
    answer = clients["/invocations"].post("/invocations", json={"data": ["a dog"], "parameters": parameters})
    assert np.abs(vectors(answer) - quantize(encoder.encode_text(["a dog"], dim=WIDTH), "int8")).max() <= 1
