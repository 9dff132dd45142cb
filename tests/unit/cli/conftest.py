"""The command line with an encoder of ten lines, so that every test is about the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

import babelclip
from babelclip.cli.main import run
from babelclip.encodes import StreamItem
from babelclip.errors import ConfigError, ImageError, ItemsError, UnknownTask
from babelclip.vectors import finish

WIDTH = 16


def vector_of(content: bytes) -> NDArray[np.float32]:
    """A vector that depends on nothing but the content."""
    return np.random.default_rng(list(hashlib.sha256(content).digest())).standard_normal(WIDTH).astype(np.float32)


class FakeEncoder:
    """Deterministic vectors; an image is any file that is there and is not empty."""

    name, dim, dims, logit_scale = "fake", WIDTH, (8, WIDTH), 5.0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode_text(
        self, texts: Sequence[str], *, task: str | None = None, dim: int | None = None, max_tokens: int | None = None
    ) -> NDArray[np.float32]:
        if task not in (None, "query"):
            raise UnknownTask(f"unknown task {task!r}; known: query")
        if dim is not None and not 1 <= dim <= WIDTH:
            raise ConfigError(f"dim must be from 1 to {WIDTH}, found {dim}")
        self.calls.append(len(texts))
        return finish(np.stack([vector_of(text.encode()) for text in texts]), dim)

    def encode_image(self, images: Sequence[Path | str], *, dim: int | None = None) -> NDArray[np.float32]:
        self.calls.append(len(images))
        rows, failures = np.full((len(images), dim or WIDTH), np.nan, np.float32), {}
        for place, image in enumerate(images):
            content = image.encode() if isinstance(image, str) else image.read_bytes() if image.is_file() else b""
            if content:
                rows[place] = finish(vector_of(content)[None], dim)[0]
            else:
                failures[place] = "no such file"
        if failures:
            raise ItemsError(failures, rows)
        return rows

    def stream(
        self, items: Iterable[Path | str], *, kind: str, dim: int | None = None, **of_texts: Any
    ) -> Iterator[StreamItem]:
        sources, failures = list(items), {}
        try:
            rows = (
                self.encode_text(cast("list[str]", sources), dim=dim, **of_texts)
                if kind == "text"
                else self.encode_image(sources, dim=dim)
            )
        except ItemsError as error:
            rows, failures = error.vectors, error.failures
        for place, row in enumerate(rows):
            failed = ImageError(failures[place]) if place in failures else None
            yield StreamItem(place, row if failed is None else None, failed)

    def facts(self) -> dict[str, Any]:
        return {"model": "fake"}


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """Stands in for every model that a command opens."""
    fake = FakeEncoder()
    monkeypatch.setattr(babelclip, "load", lambda *_, **__: fake, raising=False)
    return fake


@pytest.fixture
def call(encoder: FakeEncoder, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line: (exit code, stdout, stderr)."""

    def run_it(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_it


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two files that the fake takes for images, and one that it does not."""
    for name, content in {"a.jpg": b"a", "b.png": b"b", "broken.jpg": b""}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path
