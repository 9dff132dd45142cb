"""Text batches of like length, drawn with weights. Batch number s of a seed is the same whatever came before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from babelclip.errors import ConfigError
from babelclip.train.data.texts import Row
from babelclip.train.vocabulary import encode_ids

BUCKET_EDGES = (5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 23, 26, 30, 35, 40, 48, 56, 64, 80, 96, 128)
"""Longest text of each bucket in tokens, special tokens included; longer texts are cut to the last."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Token ids of many texts in one array: text i is ``ids[starts[i]:starts[i + 1]]``, without special tokens."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def read(cls, path: Path) -> TokenTable:
        with np.load(path) as arrays:
            return cls(arrays["ids"], arrays["starts"])

    def write(self, path: Path) -> None:
        np.savez(path, ids=self.ids, starts=self.starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths with the two special tokens."""
        return np.diff(self.starts) + 2

    def padded(self, rows: NDArray[np.int64], *, bos: int = 0, pad: int = 1, eos: int = 2) -> NDArray[np.int64]:
        """Rows as (B, T) token ids between ``<s>`` and ``</s>``, right-padded, cut to the last bucket."""
        longest = int(min(self.lengths[rows].max(), BUCKET_EDGES[-1]))
        batch = np.full((len(rows), longest), pad, dtype=np.int64)
        batch[:, 0] = bos
        for place, row in enumerate(rows):
            ids = self.ids[self.starts[row] : self.starts[row + 1]][: longest - 2]
            batch[place, 1 : len(ids) + 1] = ids
            batch[place, len(ids) + 1] = eos
        return batch


def tokenise(tokenizer: Tokenizer, texts: Sequence[str]) -> TokenTable:
    """Token ids of texts, each distinct text encoded once per occurrence, in order."""
    pieces: list[NDArray[np.int32]] = []
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    for place, ids in enumerate(encode_ids(tokenizer, texts)):
        pieces.append(np.asarray(ids, dtype=np.int32))
        starts[place + 1] = starts[place] + len(ids)
    return TokenTable(np.concatenate(pieces) if pieces else np.zeros(0, np.int32), starts)


def row_weights(
    rows: Sequence[Row], group_weights: Mapping[str, float], temperature: float, english: float = 1.0
) -> NDArray[np.float64]:
    """How likely each row is drawn: a group has its weight, shared by its languages as n ** temperature, then evenly.

    ``english`` multiplies the share of English, which all other languages are pulled to.

    Raises: ConfigError when a group of the rows has no weight.
    """
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row.group, row.language
        counts[key] = counts.get(key, 0) + 1
    missing = {group for group, _ in counts} - set(group_weights)
    if missing:
        raise ConfigError(f"text groups without a weight in the recipe: {', '.join(sorted(missing))}")
    parts = {key: count**temperature * (english if key[1] == "en" else 1.0) for key, count in counts.items()}
    totals: dict[str, float] = {}
    for (group, _), part in parts.items():
        totals[group] = totals.get(group, 0.0) + part
    share = {
        (group, language): group_weights[group] * part / totals[group] / counts[group, language]
        for (group, language), part in parts.items()
    }
    weights = np.array([share[row.group, row.language] for row in rows])
    return np.asarray(weights / weights.sum())


class TextSampler:
    """Draws batches of about ``token_budget`` tokens, all texts of a batch from one bucket of lengths."""

    def __init__(self, table: TokenTable, weights: NDArray[np.float64], token_budget: int, seed: int) -> None:
        self._seed = seed
        bucket = np.searchsorted(BUCKET_EDGES, np.minimum(table.lengths, BUCKET_EDGES[-1]))
        self._members: list[NDArray[np.int64]] = []
        self._cumulative: list[NDArray[np.float64]] = []
        self._sizes: list[int] = []
        visits: list[float] = []
        for place, edge in enumerate(BUCKET_EDGES):
            members = np.flatnonzero((bucket == place) & (weights > 0))
            if not len(members):
                continue
            size = max(2, token_budget // edge)
            self._members.append(members)
            self._cumulative.append(np.cumsum(weights[members]))
            self._sizes.append(size)
            visits.append(float(weights[members].sum()) / size)
        self._visits = np.array(visits) / sum(visits)

    def draw(self, step: int) -> NDArray[np.int64]:
        """Row positions of batch ``step``, each at most once."""
        generator = np.random.default_rng([self._seed, step])
        place = int(generator.choice(len(self._visits), p=self._visits))
        cumulative = self._cumulative[place]
        points = generator.random(self._sizes[place]) * cumulative[-1]
        chosen = np.minimum(np.searchsorted(cumulative, points, side="right"), len(cumulative) - 1)
        return np.unique(self._members[place][chosen])
