"""Texts and images to finished vectors against the reference's own ``encode_text``, ``encode_image`` and ``encode``.

Tolerances: torch 4e-6 on finished vectors, as for the towers' outputs; exported graphs 1e-4 and cosine 0.99999. Vectors
that are not normalized have values up to 4, hence 1e-5 in torch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tests.conftest import GRAY_OF_16_BITS

import babelclip
from babelclip.encoder import Encoder
from babelclip.errors import TruncationWarning

TOLERANCE = {"torch": 4e-6, "onnx": 1e-4}
NOT_NORMALIZED = {"torch": 1e-5, "onnx": 1e-4}
MIN_COSINE = 0.99999
REFERENCE_MAX_TOKENS = 512  # of a call that says nothing; ours is the whole context
OURS = {"truncate_dim": "dim", "normalize_embeddings": "normalize", "max_length": "max_tokens", "task": "task"}

CLIP = [(name, runtime) for name in ("v2_a", "v2_b") for runtime in ("torch", "onnx")]


class Golden:
    """A golden model behind one runtime, and what the reference gave."""

    def __init__(self, folder: Path, runtime: Any) -> None:
        self.encoder: Encoder = babelclip.load(folder, runtime=runtime)
        assert self.encoder.facts()["runtime"] == runtime
        self.runtime = runtime
        self.recorded: dict[str, Any] = json.loads((folder / "end_to_end.json").read_text(encoding="utf-8"))
        self.outputs = load_file(folder / "outputs.safetensors")
        self.texts: list[str] = self.recorded["texts"]

    def check(self, name: str, found: NDArray[np.float32], rows: list[int] | slice = slice(None)) -> None:
        assert found.shape == self.outputs[name].shape
        expected, found = self.outputs[name][rows], found[rows]
        assert found.dtype == np.float32
        limit = (NOT_NORMALIZED if name.endswith("unnorm") else TOLERANCE)[self.runtime]
        np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
        norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
        assert ((found * expected).sum(axis=-1) / norms).min() >= MIN_COSINE


@pytest.fixture(scope="module", params=CLIP, ids="-".join)
def clip(request: pytest.FixtureRequest, exported_folder: Callable[[str], Path]) -> Golden:
    name, runtime = request.param
    return Golden(exported_folder(name), runtime)


@pytest.fixture(scope="module", params=["torch", "onnx"])
def v3(request: pytest.FixtureRequest, exported_folder: Callable[[str], Path]) -> Golden:
    return Golden(exported_folder("v3_small"), request.param)


def text_calls(golden: Golden) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, options in golden.recorded["calls"].items():
        ours = {OURS[key]: value for key, value in options.items() if key != "batch_size"}
        yield f"encode_text.{name}", {"max_tokens": REFERENCE_MAX_TOKENS} | ours


def test_clip_texts(clip: Golden) -> None:
    for name, options in text_calls(clip):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # asked for, in the call with 40 tokens
            clip.check(name, clip.encoder.encode_text(clip.texts, **options))


def test_clip_lone_text(clip: Golden) -> None:
    clip.check("encode_text.single_string_index3", clip.encoder.encode_text(clip.texts[3]))


def test_clip_images(clip: Golden, golden_images: list[Path]) -> None:
    assert [path.name for path in golden_images] == clip.recorded["image_files"]
    followed = [row for row, path in enumerate(golden_images) if path.name not in GRAY_OF_16_BITS]
    dim = clip.recorded["trunc_dim"]
    calls: dict[str, dict[str, Any]] = {
        "default": {},
        "batch3": {},
        "trunc": {"dim": dim},
        "unnorm": {"normalize": False},
    }
    for name, options in calls.items():
        clip.check(f"encode_image.{name}", clip.encoder.encode_image(golden_images, **options), followed)


def test_v3_tasks(v3: Golden) -> None:
    names = [name for name in v3.outputs if name.startswith("encode.")]
    assert len(names) == 7
    for name in names:
        task = name.removeprefix("encode.").removesuffix(".trunc32")
        dim = 32 if name.endswith(".trunc32") else None
        v3.check(name, v3.encoder.encode_text(v3.texts, task=None if task == "None" else task, dim=dim))
