"""Towers under training as something that encodes: prepared and finished exactly as the shipped code path does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError
from babelclip.prepare.image import ImagePreparer, stack
from babelclip.prepare.open_image import ImageSource
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.vectors import finish

TEXTS_AT_ONCE, IMAGES_AT_ONCE = 64, 32


class LiveEncoder:
    """``Encodes`` over live towers, for evaluation in the loop. Items one by one in the order given."""

    def __init__(self, towers: DualEncoder, texts: TextPreparer, images: ImagePreparer | None) -> None:
        self._towers, self._texts, self._images = towers, texts, images

    @property
    def dim(self) -> int:
        return self._towers.config.text.embed_dim

    @torch.no_grad()
    def encode_text(
        self,
        texts: str | Iterable[str],
        *,
        task: str | None = None,
        dim: int | None = None,
        normalize: bool = True,
        max_tokens: int | None = None,
        progress: bool = False,
    ) -> Vectors:
        """float32 (N, dim); (dim,) for a lone str."""
        given = [texts] if isinstance(texts, str) else list(texts)
        ids = self._texts.tokenize(given, task, max_tokens).token_ids
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        raw = np.zeros((len(ids), self.dim), dtype=np.float32)
        for rows in _cut(order, TEXTS_AT_ONCE):
            batch = self._texts.batch([ids[row] for row in rows], task)
            adapters = None
            if self._towers.config.text.adapters is not None:
                adapters = torch.from_numpy(batch.adapters)
            raw[rows] = self._towers.text(torch.from_numpy(batch.token_ids), adapters).float().numpy()
        vectors = finish(raw, dim, normalize)
        return vectors[0] if isinstance(texts, str) else vectors

    @torch.no_grad()
    def encode_image(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        dim: int | None = None,
        normalize: bool = True,
        progress: bool = False,
    ) -> Vectors:
        """float32 (N, dim); (dim,) for a lone image."""
        if self._images is None or self._towers.vision is None:
            raise ConfigError("this model has no image tower")
        is_one = isinstance(images, str | bytes | Path) or not isinstance(images, Iterable)
        given: Any = [images] if is_one else list(images)  # type: ignore[arg-type]
        parts = [
            self._towers.vision(torch.from_numpy(stack([self._images(image) for image in part]).pixels)).float().numpy()
            for part in _cut(given, IMAGES_AT_ONCE)
        ]
        vectors = finish(np.concatenate(parts), dim, normalize)
        return vectors[0] if is_one else vectors


def _cut(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
