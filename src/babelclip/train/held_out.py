"""Images that were not trained on, before and after: retrieval both ways, and whether a gain is more than luck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.encodes import Encodes
from babelclip.errors import ItemsError
from babelclip.evaluate.metrics import best_ranks, hits_at, interval_of_mean
from babelclip.train.data.captioned_images import CaptionedImages

_CUTOFFS = (1, 5, 10)
FEW = 100
"""Of fewer images, recall is uncertain by ten points and more: 1.96 * sqrt(0.25 / 100), the widest 95% interval."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Places of the right answers, from 0."""

    text_ranks: NDArray[np.int64]  # (Q,) of each caption's image among all images
    image_ranks: NDArray[np.int64]  # (N,) of each image's best caption among all captions
    owners: NDArray[np.int64]  # (Q,) each caption's image

    def hits(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Metric -> percent of each query, and the image that it belongs to."""
        images = np.arange(len(self.image_ranks))
        ways = (("text_to_image", self.text_ranks, self.owners), ("image_to_text", self.image_ranks, images))
        return {
            f"{way}_recall@{k}": (100.0 * hits_at(ranks, k), owners) for way, ranks, owners in ways for k in _CUTOFFS
        }

    def figures(self) -> dict[str, float]:
        """Metric -> percent."""
        return {name: float(hits.mean()) for name, (hits, _) in self.hits().items()}


def measure(encoder: Encodes, held_out: CaptionedImages) -> Measured:
    """All images are one pool; those that cannot be read are left out."""
    images: list[NDArray[np.float32]] = []
    texts: list[str] = []
    owners: list[int] = []
    for image in held_out:
        try:
            images.append(encoder.encode_image([image.read()])[0])
        except (ItemsError, OSError):
            continue
        for captions in image.captions.values():
            texts += captions
            owners += [len(images) - 1] * len(captions)
    pool, of, numbers = np.stack(images), np.array(owners, np.int64), np.arange(len(images))
    vectors = encoder.encode_text(texts)
    return Measured(best_ranks(vectors, pool, of, numbers), best_ranks(pool, vectors, numbers, of), of)


def warning_of_few(number: int) -> str | None:
    """What to say of a number of held-out images that is too small to say much; None where it is not."""
    if number >= FEW:
        return None
    uncertain = 196 * (0.25 / number) ** 0.5
    return (
        f"warning: only {number} images are held out, so recall is uncertain by up to {uncertain:.0f} points; "
        "differences below that say nothing. Raise held_out, or measure on other images"
    )


def compare(before: Measured, after: Measured, seed: int) -> dict[str, Any]:
    """Before, after, and the difference with its 95% interval: paired bootstrap over images."""
    found: dict[str, Any] = {}
    earlier = before.hits()
    for name, (hits, owners) in after.hits().items():
        difference = hits - earlier[name][0]
        low, high = interval_of_mean(difference, owners, seed)
        found[name] = {
            "before": round(float(earlier[name][0].mean()), 2),
            "after": round(float(hits.mean()), 2),
            "difference": round(float(difference.mean()), 2),
            "low": round(low, 2),
            "high": round(high, 2),
            "queries": len(hits),
        }
    return found
