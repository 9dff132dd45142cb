"""A model, and photos that cost little to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.encoder import Encoder

MakePhoto = Callable[..., Path]


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The bundled model: what a search finds must be what people find."""
    return babelclip.load(threads=1)


@pytest.fixture
def make_photo(tmp_path: Path) -> MakePhoto:
    """(name, seed) -> a small photo of its own in ``tmp_path/photos``."""

    def make(name: str, seed: int = 0) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((48, 32), Image.Resampling.BICUBIC)
        image.save(path, quality=95) if path.suffix == ".jpg" else image.save(path)
        return path

    return make
