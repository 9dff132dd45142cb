"""Towers under training behind the one class that people hold: evaluation in training is the shipped code path."""

from __future__ import annotations

import numpy as np
import torch

from babelclip.arrays import ImageBatch, TextBatch, Vectors
from babelclip.encoder import Encoder
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder


class LiveRuntime:
    """A ``Runtime`` over towers whose weights still change; they stay where, and in what mode, they are."""

    def __init__(self, towers: DualEncoder) -> None:
        self._towers = towers

    @torch.no_grad()
    def run_text(self, batch: TextBatch) -> Vectors:
        """(B, T) token ids -> (B, E)."""
        adapters = None if self._towers.config.text.adapters is None else torch.from_numpy(batch.adapters)
        return _to_numpy(self._towers.text(torch.from_numpy(batch.token_ids), adapters))

    @torch.no_grad()
    def run_images(self, batch: ImageBatch) -> Vectors:
        """(B, 3, S, S) pixels -> (B, E)."""
        assert self._towers.vision is not None, "an encoder without an image preparer asks for no images"
        return _to_numpy(self._towers.vision(torch.from_numpy(batch.pixels)))

    def facts(self) -> dict[str, str | int]:
        return {"runtime": "live", "device": "cpu", "dtype": "float32", "threads": torch.get_num_threads()}


def live_encoder(towers: DualEncoder, texts: TextPreparer, images: ImagePreparer | None) -> Encoder:
    """An encoder over live towers."""
    dims = towers.config.dims
    return Encoder(name="live", runtime=LiveRuntime(towers), text_preparer=texts, image_preparer=images, dims=dims)


def _to_numpy(vectors: torch.Tensor) -> Vectors:
    return np.asarray(vectors.float().numpy())
