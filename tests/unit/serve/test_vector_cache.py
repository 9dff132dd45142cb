"""Vectors that are kept: never another item's, never a damaged one, never too many."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from babelclip.encoder import Encoder
from babelclip.errors import ConfigError
from babelclip.serve.access.authenticator import NoAuth
from babelclip.serve.app import application, make_app
from babelclip.serve.inference.served_model import serve_encoder
from babelclip.serve.inference.vector_cache import FILE_NAME, FRESH_SECONDS, VectorCache, entry_name
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(8).astype(np.float32)


def test_names_depend_on_everything() -> None:
    names = [
        entry_name(space, kind, task, content)
        for space in ("a", "b")
        for kind in ("text", "image")
        for task in (None, "", "query")
        for content in ("x", "xy", b"\xff")
    ]
    assert len(set(names)) == len(names)
    assert entry_name("a", "text", None, "x") == entry_name("a", "text", None, "x")
    entry_name("a", "text", None, "\ud800")  # a lone surrogate is a text too


def test_vectors_come_back_and_outlive_the_process(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "made" / "here", 10**6)
    cache.put({b"one": vector(1), b"two": vector(2)})
    cache.close()
    again = VectorCache(tmp_path / "made" / "here", 10**6)
    found = again.get([b"two", b"none", b"one"])
    assert set(found) == {b"one", b"two"}
    assert np.array_equal(found[b"two"], vector(2))
    assert again.get([]) == {}
    many = {str(n).encode(): vector(n) for n in range(1200)}
    again.put(many)
    assert set(again.get(list(many))) == set(many)
    again.close()


def test_a_damaged_vector_is_not_given(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, 10**6)
    cache.put({b"one": vector(1), b"two": vector(2)})
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as database:
        packed = bytearray(database.execute("SELECT vector FROM vectors WHERE name = ?", (b"one",)).fetchone()[0])
        packed[3] ^= 1
        database.execute("UPDATE vectors SET vector = ? WHERE name = ?", (bytes(packed), b"one"))
    assert set(cache.get([b"one", b"two"])) == {b"two"}
    cache.close()


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    now = [0.0]
    each = 8 * 4 + 4 + 64
    cache = VectorCache(tmp_path, 10 * each, clock=lambda: now[0])
    for n in range(10):
        now[0] += FRESH_SECONDS + 1
        cache.put({bytes([n]): vector(n)})
    now[0] += FRESH_SECONDS + 1
    assert len(cache.get([bytes([n]) for n in range(10)])) == 10
    now[0] += FRESH_SECONDS + 1
    assert set(cache.get([b"\x00", b"\x01"])) == {b"\x00", b"\x01"}  # used again
    now[0] += 1
    cache.put({b"new": vector(11)})
    left = cache.get([*(bytes([n]) for n in range(10)), b"new"])
    assert len(left) == 9
    assert {b"\x00", b"\x01", b"new"} <= set(left)
    cache.close()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be used"):
        VectorCache(tmp_path / "file", 10)
    (tmp_path / FILE_NAME).write_text("no database" * 1000)
    with pytest.raises(ConfigError, match="cannot be used"):
        VectorCache(tmp_path, 10)


class Counted:
    """A backend that counts what it is asked."""

    is_ready = True

    def __init__(self, backend: object) -> None:
        self.backend, self.asked = backend, 0

    async def run(self, kind: str, items: Sequence[str | bytes], task: str | None = None) -> list[object]:
        self.asked += len(items)
        return await self.backend.run(kind, items, task)  # type: ignore[attr-defined]


def test_a_server_answers_from_it_in_any_width_and_form(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    settings = ServerSettings(cache=tmp_path)
    model = serve_encoder(encoder, settings.image_limits)
    model.backend = backend = Counted(model.backend)  # type: ignore[assignment]
    app = application({MODEL: model}, settings, NoAuth())

    def ask(client: httpx.Client, **body: object) -> httpx.Response:
        return client.post("/v1/embeddings?on_error=item", json={"model": MODEL, **body})

    texts = ["a dog", "ein Hund", "a dog"]
    with running(app) as client:
        first = ask(client, input=texts)
        assert backend.asked == 2  # the same text twice is one
        assert first.json()["usage"]["total_tokens"] == sum(map(len, encoder.tokenize(texts)))
        second = ask(client, input=texts, dimensions=32, embedding_type="float", normalized=False)
        assert backend.asked == 2
        for each, text in zip(second.json()["data"], texts, strict=True):
            assert np.allclose(each["embedding"], encoder.encode_text(text, dim=32, normalize=False), atol=1e-5)
        assert second.json()["usage"] == first.json()["usage"]  # the price does not depend on it
        metrics = client.get("/metrics").text
        assert f'babelclip_cache_lookups_total{{model="{MODEL}",outcome="hit"}} 4.0' in metrics
    with running(make_app(encoder, ServerSettings(cache=tmp_path))) as client:
        ask(client, input=["a dog", "a cat"])
        metrics = client.get("/metrics").text
        assert f'babelclip_cache_lookups_total{{model="{MODEL}",outcome="hit"}} 1.0' in metrics
