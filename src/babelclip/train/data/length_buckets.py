"""Text batches of like length, drawn with weights. Batch number s of a seed is the same whatever came before it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_write import atomic_path
from babelclip.prepare.text import TextPreparer

BUCKET_EDGES = (
    *(5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 23, 26, 30, 35, 40, 48, 56, 64, 80, 96, 128),
    *(192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192),
)
"""Longest text of each bucket in tokens, special tokens included."""
_TEXTS_AT_ONCE = 20_000
_ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Token ids of many texts in one array, as the model sees them: text i is ``ids[starts[i]:starts[i + 1]]``."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def rows(self, numbers: NDArray[np.int64]) -> list[list[int]]:
        """Token ids of some texts."""
        return [self.ids[self.starts[row] : self.starts[row + 1]].tolist() for row in numbers]


def tokenize(preparer: TextPreparer, texts: Sequence[str], max_tokens: int, folder: Path | None = None) -> TokenTable:
    """Token ids of texts, cut to ``max_tokens``.

    Args:
        preparer: The model's own.
        texts: In the order that the table has.
        max_tokens: Special tokens included.
        folder: Where the table is kept and found again; None: nowhere.
    """
    file = None if folder is None else folder / f"tokens-{_digest(preparer, texts, max_tokens)}.npz"
    if file is not None and file.is_file():
        with np.load(file) as arrays:
            return TokenTable(arrays["ids"], arrays["starts"])
    pieces: list[NDArray[np.int32]] = []
    lengths: list[int] = [0]
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        rows = preparer.tokenize(texts[start : start + _TEXTS_AT_ONCE], max_tokens=max_tokens).token_ids
        pieces.append(np.array([one for ids in rows for one in ids], dtype=np.int32))
        lengths += map(len, rows)
    table = TokenTable(np.concatenate(pieces) if pieces else np.zeros(0, np.int32), np.cumsum(lengths, dtype=np.int64))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as unfinished:
            np.savez(unfinished, ids=table.ids, starts=table.starts)
    return table


def _digest(preparer: TextPreparer, texts: Sequence[str], max_tokens: int) -> str:
    whole = hashlib.sha256(f"{preparer.digest()} {max_tokens}\0".encode())
    for text in texts:
        whole.update(text.encode() + b"\0")
    return whole.hexdigest()[:16]


def row_weights(
    groups: Sequence[str],
    languages: Sequence[str],
    group_weights: Mapping[str, float],
    temperature: float,
    english: float = 1.0,
) -> NDArray[np.float64]:
    """How likely each row is drawn: a group has its weight, shared by its languages as n ** temperature, then evenly.

    Args:
        groups: Of each row.
        languages: Of each row.
        group_weights: Of every group.
        temperature: 1 draws languages as often as they have rows, 0 all alike.
        english: Multiplies the share of English, which all other languages are pulled to.
    """
    keys = list(zip(groups, languages, strict=True))
    counts: dict[tuple[str, str], int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    parts = {key: count**temperature * (english if key[1] == _ENGLISH else 1.0) for key, count in counts.items()}
    totals: dict[str, float] = {}
    for (group, _), part in parts.items():
        totals[group] = totals.get(group, 0.0) + part
    share = {
        (group, language): group_weights[group] * part / totals[group] / counts[group, language]
        for (group, language), part in parts.items()
    }
    weights = np.array([share[key] for key in keys])
    return np.asarray(weights / weights.sum())


class LengthBucketSampler:
    """Draws batches of about ``token_budget`` tokens, all texts of a batch from one bucket of lengths.

    Args:
        lengths: Of each row in tokens.
        weights: How likely each row is drawn; rows of weight 0 never are.
        token_budget: Of a batch, padding included.
        seed: Of the draws.
    """

    def __init__(self, lengths: NDArray[np.int64], weights: NDArray[np.float64], token_budget: int, seed: int) -> None:
        self._seed = seed
        bucket = np.searchsorted(BUCKET_EDGES, np.minimum(lengths, BUCKET_EDGES[-1]))
        self._members: list[NDArray[np.int64]] = []
        self._cumulative: list[NDArray[np.float64]] = []
        self._sizes: list[int] = []
        visits: list[float] = []
        for number, edge in enumerate(BUCKET_EDGES):
            members = np.flatnonzero((bucket == number) & (weights > 0))
            if not len(members):
                continue
            size = max(2, token_budget // edge)
            self._members.append(members)
            self._cumulative.append(np.cumsum(weights[members]))
            self._sizes.append(size)
            visits.append(float(weights[members].sum()) / size)
        self._visits = np.array(visits) / sum(visits)

    def draw(self, step: int) -> NDArray[np.int64]:
        """Row numbers of batch ``step``, each at most once."""
        generator = np.random.default_rng([self._seed, step])
        bucket = int(generator.choice(len(self._visits), p=self._visits))
        cumulative = self._cumulative[bucket]
        points = generator.random(self._sizes[bucket]) * cumulative[-1]
        chosen = np.minimum(np.searchsorted(cumulative, points, side="right"), len(cumulative) - 1)
        return np.unique(self._members[bucket][chosen])
