"""Shapes and the batches that travel from ``prepare`` to ``runtime``.

Letters used in shape comments everywhere:

    B batch    T tokens    P patches    D width (inside a tower)    N heads    K per-head width
    E embedding (output of a tower)    S image side in pixels

A file of its own, because every room may know these types and nothing else of each other.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""float32 (B, E): one row per item."""

NO_ADAPTER = -1
"""Adapter index of a row that uses the base weights alone."""


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts ready for a text tower.

    The attention mask is not stored: it is ``token_ids != pad_id`` by definition
    (docs/reference/published-model.md#model), so it cannot disagree with the ids.
    """

    token_ids: NDArray[np.int64]  # (B, T), right-padded with the tower's pad id
    adapters: NDArray[np.int64]  # (B,) adapter index per row, NO_ADAPTER for the base weights


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images ready for an image tower."""

    pixels: NDArray[np.float32]  # (B, 3, S, S), RGB, normalized


BROKEN_ARRAYS = (
    *(KeyError, ValueError, EOFError, OSError, MemoryError, RuntimeError, AttributeError, TypeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy raises of an archive that is broken, packed in another way, no archive, or promises too much."""
