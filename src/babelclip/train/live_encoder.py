"""Towers under training behind the one class that people hold: evaluation in training is the shipped code path."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from babelclip.arrays import ImageBatch, TextBatch, Vectors
from babelclip.encoder import Encoder
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder


class LiveRuntime:
    """A ``Runtime`` over towers whose weights still change; they stay where, and in what mode, they are."""

    def __init__(self, towers: DualEncoder, device: torch.device) -> None:
        self._towers, self._device = towers, device

    @torch.no_grad()
    def run_text(self, batch: TextBatch) -> Vectors:
        """(B, T) token ids -> (B, E)."""
        has_adapters = self._towers.config.text.adapters is not None
        adapters = self._moved(batch.adapters) if has_adapters else None
        return _to_numpy(self._towers.text(self._moved(batch.token_ids), adapters))

    @torch.no_grad()
    def run_images(self, batch: ImageBatch) -> Vectors:
        """(B, 3, S, S) pixels -> (B, E)."""
        assert self._towers.vision is not None, "an encoder without an image preparer asks for no images"
        return _to_numpy(self._towers.vision(self._moved(batch.pixels)))

    def facts(self) -> dict[str, str | int]:
        return {
            "runtime": "live",
            "device": str(self._device),
            "dtype": "float32",
            "threads": torch.get_num_threads(),
        }

    def _moved(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def live_encoder(
    towers: DualEncoder, texts: TextPreparer, images: ImagePreparer | None, device: torch.device
) -> Encoder:
    """An encoder over live towers."""
    runtime, dims = LiveRuntime(towers, device), towers.config.dims
    return Encoder(name="live", runtime=runtime, text_preparer=texts, image_preparer=images, dims=dims)


def _to_numpy(vectors: Tensor) -> Vectors:
    return np.asarray(vectors.float().cpu().numpy())
