"""Hits of several kinds in one order: stored means take away what separates texts from images.

Vectors of texts and of images lie around means of their own, so a text is closer to any text than to the best photo
(the modality gap; Liang et al. 2022, arXiv:2203.02053). For one query the gap adds the same to every row of a kind,
``q . mean(kind)``: it is taken away, and the order within a kind stays that of the cosine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from babelclip.arrays import Vectors
from babelclip.search.filters import Eq
from babelclip.search.store import Scored, VectorStore

SAMPLE = 5000
"""Rows of a kind that a mean is taken over."""
GROWTH = 4
"""A mean is taken anew when its kind has so many times more rows."""


@dataclass(frozen=True, slots=True)
class Means:
    """The mean of each kind (E,), and of how many rows there were when it was taken."""

    vectors: dict[str, Vectors] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> str:
        """For a note."""
        packed = {kind: base64.b64encode(mean.astype("<f4").tobytes()).decode() for kind, mean in self.vectors.items()}
        return json.dumps({"means": packed, "counts": self.counts})

    @classmethod
    def from_json(cls, text: str | None) -> Means:
        """Of a note; None gives no means."""
        if text is None:
            return cls()
        stored = json.loads(text)
        unpacked = {kind: np.frombuffer(base64.b64decode(mean), "<f4") for kind, mean in stored["means"].items()}
        return cls(unpacked, stored["counts"])


def taken_means(store: VectorStore, before: Means, kinds: Sequence[str] = ("image", "page", "text")) -> Means:
    """The means of a store's kinds; those that have not grown much stay."""
    vectors, counts = dict(before.vectors), dict(before.counts)
    for kind in kinds:
        count = store.count(Eq("kind", kind))
        if count and count >= GROWTH * counts.get(kind, 0):
            sample = np.stack([row.vector for row in islice(store.rows(Eq("kind", kind)), SAMPLE)])
            vectors[kind], counts[kind] = sample.mean(axis=0), count
    return Means(vectors, counts)


def in_one_order(found: Sequence[Sequence[Scored]], query: Vectors, means: Means) -> list[Scored]:
    """Hits of several kinds, best first by their cosines less the gap; the cosines that they tell stay."""
    gaps = {kind: float(query @ mean) / float(np.linalg.norm(query)) for kind, mean in means.vectors.items()}
    every = [hit for hits in found for hit in hits]
    return sorted(every, key=lambda hit: gaps.get(hit.kind, 0.0) - hit.score)
