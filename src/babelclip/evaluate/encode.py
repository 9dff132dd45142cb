"""Vectors for a task: every distinct text once, in large calls, checked, with progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import DatasetError, ItemsError

if TYPE_CHECKING:
    from babelclip.encoder import Encodes

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]
"""Called with what is being encoded ("texts" or "images"), how many are done, and how many there are."""

TEXTS_AT_ONCE = 4096
"""Large, so that the encoder can batch texts of like length; small enough for a progress bar that moves."""
IMAGES_AT_ONCE = 128


def silent(what: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


class EncodeOnce:
    """An encoder at one width, as tasks use it."""

    def __init__(self, encoder: Encodes, dim: int | None = None, progress: Progress = silent) -> None:
        self._encoder = encoder
        self._dim = dim
        self.progress = progress
        self.width: int | None = None  # of the vectors that came back; None before the first call

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(N, dim) in the order given. Equal texts are encoded once."""
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        rows = {text: row for row, text in enumerate(distinct)}
        vectors = self._in_parts(
            "texts", distinct, distinct, TEXTS_AT_ONCE, lambda part: self._encoder.encode_text(part, dim=self._dim)
        )
        return vectors[[rows[text] for text in texts]]

    def images(self, images: Sequence[bytes], names: Sequence[str]) -> Vectors:
        """(N, dim) in the order given; ``names`` say which image failed."""
        return self._in_parts(
            "images", images, names, IMAGES_AT_ONCE, lambda part: self._encoder.encode_image(part, dim=self._dim)
        )

    def _in_parts(
        self,
        what: str,
        items: Sequence[Item],
        names: Sequence[str],
        size: int,
        encode: Callable[[Sequence[Item]], Vectors],
    ) -> Vectors:
        if not items:
            raise DatasetError(f"there are no {what} to encode")
        parts: list[Vectors] = []
        for start in range(0, len(items), size):
            self.progress(what, start, len(items))
            part = items[start : start + size]
            try:
                vectors = encode(part)
            except ItemsError as error:
                index, reason = next(iter(error.failures.items()))
                raise DatasetError(
                    f"{len(error.failures)} {what} cannot be encoded; the first is {names[start + index]!r}: {reason}"
                ) from error
            self._check(vectors, len(part), what)
            parts.append(vectors)
        self.progress(what, len(items), len(items))
        return np.concatenate(parts)

    def _check(self, vectors: Vectors, expected: int, what: str) -> None:
        if vectors.ndim != 2 or len(vectors) != expected:
            raise ValueError(f"the encoder returned shape {vectors.shape} for {expected} {what}")
        if self.width is not None and vectors.shape[1] != self.width:
            raise ValueError(f"the encoder returned {vectors.shape[1]} numbers for {what}, before {self.width}")
        if not np.isfinite(vectors).all():
            raise ValueError(f"the encoder returned vectors of {what} that are not finite")
        self.width = vectors.shape[1]
