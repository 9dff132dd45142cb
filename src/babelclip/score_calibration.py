"""What scores of a model mean: cohorts of its texts and images, and the chance that a photo is what a text says.

``calibration.json`` in a model folder holds it. It is fitted on photos that the model was not trained on and belongs to
this very model. The chance is logistic regression (Platt 1999) over pairs of a text and a photo. Neither the cosine
nor how far it stands out among photos carries from captions to names of two words: both are features, and so are the
mean and the spread of the text's cosines with photos, which tell the one from the other (lab/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.atomic_write import write_json
from babelclip.decode import decode, encode, parse_json
from babelclip.errors import ConfigError, FolderError
from babelclip.score_normalization import ScoreNormalization, StoredCohort
from babelclip.vectors import finish

CALIBRATION = "reading.json"
_FORMAT = 1
AGAIN = "babelclip model calibrate FOLDER PHOTOS"
ONE_IN = 100
"""A chance is told for one photo in so many being what was asked for."""
MIN_WIDTH = 64
"""Narrower vectors get no chance."""
MIN_PHOTOS = 100
"""Fewer say too little."""
MAX_PAIRS = 5_000_000
"""Of a pool; more texts are thinned out evenly. What is fitted is five numbers."""
STEPS = 50


@dataclass(frozen=True, slots=True)
class Pool:
    """Photos and texts that the fit compares with each other."""

    images: Vectors  # (N, E)
    texts: Vectors  # (M, E)
    right: NDArray[np.bool_]  # (M, N) whether a photo is what a text says

    def thinned(self) -> Pool:
        """With no more than ``MAX_PAIRS``."""
        count = min(len(self.texts), max(1, MAX_PAIRS // len(self.images)))
        some = np.unique(np.linspace(0, len(self.texts) - 1, count).astype(np.int64))
        return Pool(self.images, self.texts[some], self.right[some])


@dataclass(frozen=True, slots=True)
class Chance:
    """Weights of the logistic regression at one width, in the order of ``features``, and a bias for even odds."""

    standard_score: float
    cosine: float
    mean: float
    deviation: float
    bias: float

    def of(self, features: NDArray[np.float32], odds: float) -> NDArray[np.float32]:
        """The chance (N,) of pairs with these features (N, 4) where right ones are to wrong ones as ``odds``."""
        weights = np.array([self.standard_score, self.cosine, self.mean, self.deviation], np.float32)
        logits = features @ weights + np.float32(self.bias + np.log(odds))
        return np.reciprocal(1 + np.exp(-logits), dtype=np.float32)


def features(cohort: ScoreNormalization, query: Vectors, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a text (E,) and photos (N,): (N, 4).

    The standard score z enters as log(1 + log(1 + exp z)): far above the mean a deviation more says less.
    """
    mean, deviation = cohort.moments(query)
    softened = np.log1p(np.logaddexp(0, cohort.standard_scores(query, cosines)))
    shared = np.broadcast_to(np.array([mean, np.log(deviation)], np.float32), (len(cosines), 2))
    return np.concatenate([softened[:, None], cosines[:, None], shared], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """What a model's scores mean."""

    fingerprint: str  # of the model that it was fitted for
    photos: int  # that it was fitted on
    texts: int
    cohorts: Mapping[str, ScoreNormalization]  # of the kinds "image" and "text"
    chances: Mapping[int, Chance]  # by width

    def chance(
        self, query: Vectors, cosines: NDArray[np.float32], odds: float = 1 / (ONE_IN - 1)
    ) -> NDArray[np.float32] | None:
        """Of photos to be what a text (E,) says; None at a width that was not fitted.

        Args:
            query: vector of the text.
            cosines: (N,), of the photos with it.
            odds: of a photo, before anything is known of it; one in ``ONE_IN``.
        """
        chance = self.chances.get(len(query))
        if chance is None:
            return None
        return chance.of(features(self.cohorts["image"].at(len(query)), query, cosines), odds)


def fit_calibration(fingerprint: str, pools: Sequence[Pool], widths: Sequence[int]) -> ScoreCalibration:
    """Fit on photos that the model has not seen; every pool counts alike.

    Args:
        fingerprint: of the model.
        pools: photos and texts.
        widths: those of the model.

    Raises:
        ConfigError: fewer photos than ``MIN_PHOTOS``.
    """
    images, texts = (np.concatenate([getattr(pool, kind) for pool in pools]) for kind in ("images", "texts"))
    if len(images) < MIN_PHOTOS:
        raise ConfigError(f"expected at least {MIN_PHOTOS} photos with captions, found {len(images)}")
    cohorts = {"image": ScoreNormalization.of(images), "text": ScoreNormalization.of(texts)}
    thinned = [pool.thinned() for pool in pools]
    chances = {width: _fit_width(cohorts["image"], thinned, width) for width in widths if width >= MIN_WIDTH}
    return ScoreCalibration(fingerprint, len(images), len(texts), cohorts, chances)


def _fit_width(whole: ScoreNormalization, pools: Sequence[Pool], width: int) -> Chance:
    """Logistic regression by Newton's method; a pool's own share of right pairs is an offset, so it teaches no odds."""
    cohort, rows, offsets, weights = whole.at(width), [], [], []
    for pool in pools:
        queries, photos, share = finish(pool.texts, width), finish(pool.images, width), float(pool.right.mean())
        rows.append(np.concatenate([features(cohort, query, photos @ query) for query in queries]))
        offsets.append(np.full(pool.right.size, np.log(share / (1 - share))))
        weights.append(np.full(pool.right.size, 1 / pool.right.sum()))
    inputs = np.concatenate(rows).astype(np.float64)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    offset, weight = np.concatenate(offsets), np.concatenate(weights) / np.concatenate(weights).max()
    right, fitted = np.concatenate([pool.right.ravel() for pool in pools]), np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ fitted + offset, -50, 50)))
        curvature = inputs.T @ (inputs * (weight * chances * (1 - chances))[:, None]) + 1e-6 * np.eye(len(fitted))
        step = np.linalg.solve(curvature, inputs.T @ (weight * (right - chances)))
        fitted += step * min(1.0, 3 / np.abs(step).max())  # far steps leave where the curvature holds
        if np.abs(step).max() < 1e-5:
            break
    return Chance(*(round(float(value), 4) for value in fitted))


@dataclass(frozen=True, kw_only=True, slots=True)
class _StoredCohorts:
    image: StoredCohort
    text: StoredCohort


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """Content of ``calibration.json``."""

    format: int
    fingerprint: str
    photos: int
    texts: int
    chances: Mapping[str, Chance]
    cohorts: _StoredCohorts


def write_calibration(folder: Path, calibration: ScoreCalibration) -> None:
    """Write ``calibration.json`` of a model folder."""
    stored = _Stored(
        format=_FORMAT,
        fingerprint=calibration.fingerprint,
        photos=calibration.photos,
        texts=calibration.texts,
        chances={str(width): chance for width, chance in calibration.chances.items()},
        cohorts=_StoredCohorts(image=calibration.cohorts["image"].stored(), text=calibration.cohorts["text"].stored()),
    )
    write_json(folder / CALIBRATION, encode(stored), indent=1)


def read_calibration(folder: Path, fingerprint: str) -> ScoreCalibration | None:
    """The reading of a model folder; None where it has none.

    Raises:
        FolderError: it cannot be read, or was fitted for another model.
    """
    file = folder / CALIBRATION
    if not file.is_file():
        return None
    try:
        calibration = _of_json(parse_json(file.read_text(encoding="utf-8")))
    except ValueError as error:  # ConfigError is one
        raise FolderError(
            f"{file} is not a reading of scores ({error}): remove it, or make it anew with: {AGAIN}"
        ) from error
    if calibration.fingerprint != fingerprint:
        raise FolderError(
            f"{file} was fitted for another model ({calibration.fingerprint}, this one is {fingerprint}): "
            f"remove it, or make it anew with: {AGAIN}"
        )
    return calibration


def _of_json(content: Any) -> ScoreCalibration:
    found = content.get("format") if isinstance(content, dict) else None
    if found is not None and found != _FORMAT:  # another format may have other fields
        raise ValueError(f"format {found}, not {_FORMAT}")
    stored = decode(_Stored, content, CALIBRATION, require_all=True)
    return ScoreCalibration(
        fingerprint=stored.fingerprint,
        photos=stored.photos,
        texts=stored.texts,
        cohorts={
            "image": ScoreNormalization.of_stored(stored.cohorts.image),
            "text": ScoreNormalization.of_stored(stored.cohorts.text),
        },
        chances={int(width): chance for width, chance in stored.chances.items()},
    )
