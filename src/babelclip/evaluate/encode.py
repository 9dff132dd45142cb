"""Vectors for a task: every distinct text once, in large calls, checked, with progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import DatasetError, ItemsError
from babelclip.vectors import finish, quantize

if TYPE_CHECKING:
    from babelclip.encodes import Encodes

_Item = TypeVar("_Item")
Precision = Literal["float32", "int8", "binary"]
EncodingProgress = Callable[[str, int, int], None]
"""Called with what is being encoded ("texts" or "images"), how many are done, and how many there are."""

_TEXTS_AT_ONCE = 4096
"""Large, so that the encoder can batch texts of like length; small enough for a progress bar that moves."""
IMAGES_AT_ONCE = 128


def silent(what: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


@dataclass(frozen=True, slots=True)
class VectorForm:
    """What is kept of a vector: its first numbers, in what precision."""

    dim: int | None = None  # None: as the encoder gives it
    precision: Precision = "float32"

    def __call__(self, vectors: Vectors) -> Vectors:
        """(N, E) -> (N, dim) float32 of length one, whose products are the cosines of that form.

        Cut and normalized again, then quantized as it would be stored. Of signs, a cosine is 1 - 2 Hamming / dim.
        """
        cut = finish(vectors, self.dim)
        if self.precision == "float32":
            return cut
        if self.precision == "int8":
            return finish(quantize(cut, "int8"))
        return finish(np.where(cut > 0, 1.0, -1.0))


WHOLE_VECTORS = VectorForm()


class EncodeOnce:
    """An encoder at one width, as tasks use it.

    With a ``memory``, what was encoded before is not encoded again: several forms of the same vectors are measured.
    """

    def __init__(
        self,
        encoder: Encodes,
        dim: int | None = None,
        progress: EncodingProgress = silent,
        *,
        form: VectorForm = WHOLE_VECTORS,
        memory: dict[str | bytes, Vectors] | None = None,
    ) -> None:
        self._encoder = encoder
        self._dim = dim
        self._form = form
        self._memory = memory
        self.progress = progress
        self.width: int | None = None  # of the vectors that came back; None before the first call

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(N, dim) in the order given. Equal texts are encoded once."""
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        rows = {text: row for row, text in enumerate(distinct)}
        vectors = self._remembered(
            distinct,
            lambda new: self._in_parts(
                "texts", new, new, _TEXTS_AT_ONCE, lambda part: self._encoder.encode_text(part, dim=self._dim)
            ),
        )
        return self._form(vectors)[[rows[text] for text in texts]]

    def images(self, images: Sequence[bytes], names: Sequence[str]) -> Vectors:
        """(N, dim) in the order given; ``names`` say which image failed."""
        named = dict(zip(images, names, strict=True))
        vectors = self._remembered(
            images,
            lambda new: self._in_parts(
                "images",
                new,
                [named[image] for image in new],
                IMAGES_AT_ONCE,
                lambda part: self._encoder.encode_image(part, dim=self._dim),
            ),
        )
        return self._form(vectors)

    def _remembered(self, items: Sequence[_Item], encode: Callable[[Sequence[_Item]], Vectors]) -> Vectors:
        """Vectors of all items; those that the memory has are not asked for."""
        memory: Any = self._memory
        if memory is None:
            return encode(items)
        new = [item for item in items if item not in memory]
        if new:
            memory.update(zip(new, encode(new), strict=True))
        return np.stack([memory[item] for item in items])

    def _in_parts(
        self,
        what: str,
        items: Sequence[_Item],
        names: Sequence[str],
        size: int,
        encode: Callable[[Sequence[_Item]], Vectors],
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
