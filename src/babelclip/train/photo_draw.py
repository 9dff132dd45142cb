"""Which stored views of photos a step learns from, and which are held out to be measured on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from babelclip.train.features import FeatureStore
from babelclip.train.text_bank import TextBank

Rows = NDArray[np.int64]
"""Positions in a feature store."""


class PhotoDraw:
    """Draws rows of a store whose photos have texts, never those of held-out photos."""

    def __init__(
        self,
        store: FeatureStore,
        bank: TextBank,
        held_out: Collection[str],
        source_weights: Mapping[str, float],
        rows: Rows | None = None,
    ) -> None:
        """source_weights: how often photos of a source are drawn, where not 1. rows: all that may be drawn."""
        usable = np.array([bool(languages) for languages in bank.photo_texts])
        held = np.array([record.key in held_out for record in store.records])
        weights = np.array([source_weights.get(record.source, 1.0) for record in store.records])
        odds = np.where(usable & ~held, weights, 0.0)[store.photos]
        if rows is not None:
            odds[np.setdiff1d(np.arange(len(odds)), rows)] = 0.0
        self._cumulative = np.cumsum(odds)
        self.held_rows = np.flatnonzero((held & usable)[store.photos] & (store.views == 0))

    def rows(self, number: int, generator: np.random.Generator) -> Rows:
        """About ``number`` rows, ascending, each once."""
        points = generator.random(number) * self._cumulative[-1]
        return np.unique(np.searchsorted(self._cumulative, points, side="right"))


def recall_of_owners(texts: Tensor, images: Tensor, owners: NDArray[np.int64], first: int = 5) -> float:
    """How many texts find their own image among the first few: (T, E), (N, E), (T,) -> share."""
    cosines = F.normalize(texts, dim=1) @ F.normalize(images, dim=1).T
    best = cosines.topk(min(first, len(images)), dim=1).indices
    return (best == torch.from_numpy(owners)[:, None]).any(dim=1).float().mean().item()


def texts_and_owners(bank: TextBank, photos: NDArray[np.int64]) -> dict[str, tuple[Rows, Rows]]:
    """Of "en" and "others": the places of some photos' texts in the bank, and the position of each text's photo."""
    found: dict[str, tuple[Rows, Rows]] = {}
    for name, is_wanted in (("en", True), ("others", False)):
        places: list[int] = []
        owners: list[int] = []
        for number, photo in enumerate(photos):
            english = bank.photo_english[photo]
            others = {place for language in bank.photo_texts[photo] for place in language}.difference(english)
            texts = sorted(english if is_wanted else others)
            places += texts
            owners += [number] * len(texts)
        found[name] = np.array(places, np.int64), np.array(owners, np.int64)
    return found
