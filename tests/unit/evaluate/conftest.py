"""A data folder made of a few bytes, and an encoder whose vectors are written down by hand."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WritePack = Callable[..., None]


class TableEncoder:
    """Looks vectors up: what a text or image is worth is part of the test."""

    def __init__(self, table: dict[Any, Sequence[float]]) -> None:
        self.table = {item: np.array(vector, np.float32) / np.linalg.norm(vector) for item, vector in table.items()}
        self.texts_seen: list[str] = []
        self.images_seen: list[bytes] = []

    def encode_text(self, texts: Sequence[str], *, dim: int | None = None) -> np.ndarray:
        self.texts_seen += texts
        return self._rows(texts, dim)

    def encode_image(self, images: Sequence[bytes], *, dim: int | None = None) -> np.ndarray:
        self.images_seen += images
        return self._rows(images, dim)

    def _rows(self, items: Sequence[Any], dim: int | None) -> np.ndarray:
        rows = np.stack([self.table[item] for item in items])[:, :dim]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def table_encoder() -> type[TableEncoder]:
    return TableEncoder


@pytest.fixture
def write_pack(tmp_path: Path) -> WritePack:
    """Write a pack under ``tmp_path``: key -> (image bytes or None, record or None)."""

    def write(path: str, items: dict[str, tuple[bytes | None, dict[str, Any] | None]]) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(tmp_path / path, "w:gz") as archive:
            for key, (image, record) in items.items():
                parts = {"webp": image, "json": None if record is None else json.dumps(record).encode()}
                for suffix, content in parts.items():
                    if content is not None:
                        member = tarfile.TarInfo(f"{key}.{suffix}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))

    return write


@pytest.fixture
def write_labels(tmp_path: Path) -> Callable[[dict[str, dict[str, str]]], None]:
    def write(labels: dict[str, dict[str, str]]) -> None:
        (tmp_path / "labels.json.gz").write_bytes(gzip.compress(json.dumps(labels).encode()))

    return write


@pytest.fixture
def write_templates(tmp_path: Path) -> Callable[[str, dict[str, list[str]]], None]:
    def write(name: str, templates: dict[str, list[str]]) -> None:
        folder = tmp_path / "eval" / "templates"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(templates), encoding="utf-8")

    return write
