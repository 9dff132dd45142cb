"""Vectors of stored photos from an image tower that stands still while something else is trained against them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from babelclip.errors import DatasetError
from babelclip.towers.vision import VisionTower
from babelclip.train.features import FeatureStore
from babelclip.train.from_stored import encode_tokens, trunk_tokens
from babelclip.train.short_attention import short_attention


@dataclass(frozen=True, slots=True)
class StillImages:
    """Vectors of some of a store's rows."""

    rows: NDArray[np.int64]  # (N,) of the store, ascending
    vectors: Tensor  # (N, E), unit length
    mean_length: float  # of the vectors as the tower gives them

    def of(self, rows: NDArray[np.int64]) -> Tensor:
        """Vectors of rows that are among ``self.rows``: (M,) -> (M, E)."""
        return self.vectors[np.searchsorted(self.rows, rows)]


def rows_of_views(store: FeatureStore, captioned: int) -> NDArray[np.int64]:
    """The first views of captioned photos, and the plain one of each other photo."""
    is_captioned = np.array([record.kind == "caption" for record in store.records])[store.photos]
    return np.flatnonzero(store.views < np.where(is_captioned, captioned, 1))


def still_images(tower: VisionTower, store: FeatureStore, rows: NDArray[np.int64], file: Path) -> StillImages:
    """Vectors of rows at all positions, in bfloat16, kept in a file: a run that goes on does not make them again.

    Raises: DatasetError when the file is of another number of rows.
    """
    if not file.is_file():
        parts = np.array_split(rows, -(-len(rows) // 256))
        np.save(file, torch.cat([_encode(tower, store, part) for part in parts]).numpy().astype(np.float16))
    vectors = torch.from_numpy(np.load(file)).float()
    if len(vectors) != len(rows):
        raise DatasetError(f"{file} holds vectors of {len(vectors)} views, the recipe takes {len(rows)}; remove it")
    return StillImages(rows, F.normalize(vectors, dim=1), float(vectors.norm(dim=1).mean()))


@torch.inference_mode()
def _encode(tower: VisionTower, store: FeatureStore, rows: NDArray[np.int64]) -> Tensor:
    maps = torch.from_numpy(store.maps[rows]).float().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16), short_attention():
        return encode_tokens(tower, trunk_tokens(tower, maps, store.block, None), None).float()
