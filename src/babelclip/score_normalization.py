"""How vectors of one kind lie, so that a cosine can be told as standard deviations above what that kind gives by luck.

Texts' and images' vectors lie around means of their own (the modality gap; Liang et al. 2022, arXiv:2203.02053), and a
query's cosines with texts vary more than those with images. Score normalization against a cohort (z-norm, Reynolds et
al. 2000, "Speaker verification using adapted Gaussian mixture models") takes both away. The cohort's rows are not
needed: the mean and the variance of ``q . x`` follow from their mean and covariance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.data_uri import from_base64, to_base64
from babelclip.decode import decode, encode

DIRECTIONS = 16
"""Strongest directions of a covariance that are kept whole; of the rest, the variance of each number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCohort:
    """A `ScoreNormalization` as plain data: 16-bit floats in base64."""

    width: int
    mean: str
    directions: str
    rest: str


@dataclass(frozen=True, slots=True)
class ScoreNormalization:
    """Mean and covariance of a kind's vectors, which are of length one."""

    mean: Vectors  # (E,)
    directions: Vectors  # (R, E), each as long as the standard deviation along it
    rest: Vectors  # (E,) standard deviation of each number that the directions leave

    @classmethod
    def of(cls, vectors: Vectors) -> ScoreNormalization:
        """Of a sample (N, E)."""
        mean = vectors.mean(axis=0)
        centered = vectors - mean
        _, lengths, axes = np.linalg.svd(centered, full_matrices=False)
        directions = axes[:DIRECTIONS] * (lengths[:DIRECTIONS, None] / np.sqrt(len(vectors)))
        rest = np.mean(centered**2, axis=0) - np.sum(directions**2, axis=0)
        # As they are stored, so that what is read again gives the same scores.
        return cls(*map(_rounded, (mean, directions, np.sqrt(np.maximum(rest, 0.0)))))

    def at(self, width: int) -> ScoreNormalization:
        """Of the same vectors, cut to a Matryoshka width and normalized again (by their mean length)."""
        variance = self.rest**2 + np.sum(self.directions**2, axis=0)
        length = np.sqrt(np.sum((self.mean**2 + variance)[:width]))
        return ScoreNormalization(
            self.mean[:width] / length, self.directions[:, :width] / length, self.rest[:width] / length
        )

    def moments(self, query: Vectors) -> tuple[float, float]:
        """Mean and standard deviation of a query's (E,) cosines with the cohort."""
        variance = np.sum((self.directions @ query) ** 2) + np.sum((self.rest * query) ** 2)
        return float(self.mean @ query), math.sqrt(max(float(variance), 1e-12))

    def standard_scores(self, query: Vectors, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines (N,) of a query (E,) in standard deviations above the cohort's mean: the order stays."""
        mean, deviation = self.moments(query)
        scores: NDArray[np.float32] = (cosines - np.float32(mean)) / np.float32(deviation)
        return scores

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return encode(self.stored())

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScoreNormalization:
        """Of ``as_json``.

        Raises:
            ConfigError: a part is missing, left over or of another type.
            ValueError: arrays that do not fit each other.
        """
        return cls.of_stored(decode(StoredCohort, stored, "cohort", require_all=True))

    def stored(self) -> StoredCohort:
        """As it is kept in a file."""
        texts = {name: to_base64(getattr(self, name).astype("<f2").tobytes()) for name in self.__slots__}
        return StoredCohort(width=len(self.mean), **texts)

    @classmethod
    def of_stored(cls, stored: StoredCohort) -> ScoreNormalization:
        """Of ``stored``.

        Raises:
            ValueError: no base64, or arrays that do not fit each other.
        """
        width = stored.width
        mean, directions, rest = (
            np.frombuffer(from_base64(text), "<f2").astype(np.float32)
            for text in (stored.mean, stored.directions, stored.rest)
        )
        return cls(mean.reshape(width), directions.reshape(-1, width), rest.reshape(width))


def _rounded(array: NDArray[Any]) -> Vectors:
    return array.astype("<f2").astype(np.float32)
