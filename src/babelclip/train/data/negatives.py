"""Hard negatives: passages that look right to an encoder and are not (as in DPR, Karpukhin et al. 2020).

A passage that scores about as high as the query's own positive is often right too, only nobody said so. So passages
above a share of the positive's score are passed over (positive-aware mining, Moreira et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from babelclip.encodes import Encodes
from babelclip.errors import ConfigError
from babelclip.train.data.text_rows import TextRow

_QUERIES_AT_ONCE = 1024


def mine(
    rows: Sequence[TextRow],
    encoder: Encodes,
    *,
    negatives: int,
    corpus: Sequence[str] = (),
    below: float = 0.95,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[TextRow], int]:
    """Each row with its hardest negatives out of all positives and the corpus; and how many rows found too few.

    Positives of rows with the same anchor are never negatives. Rows that find too few are left out.

    Args:
        rows: Pairs.
        encoder: That finds what looks right.
        negatives: Of each row.
        corpus: Passages besides the positives.
        below: A negative scores at most this share of what the row's positive scores.
        progress: Told how many rows are done, of how many.

    Raises:
        ConfigError: Numbers out of range, or fewer passages than negatives.
    """
    pool = list(dict.fromkeys([*(row.positive for row in rows), *corpus]))
    if negatives < 1 or not 0 < below <= 1:
        raise ConfigError(f"negatives {negatives} must be at least 1, below {below} above 0 and at most 1")
    if len(pool) <= negatives:
        raise ConfigError(f"{len(pool)} passages are too few for {negatives} negatives a row")
    index_of = {text: number for number, text in enumerate(pool)}
    right: dict[str, set[int]] = {}
    for row in rows:
        right.setdefault(row.anchor, set()).add(index_of[row.positive])
    passages = encoder.encode_text(pool)
    found: list[TextRow] = []
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        part = rows[start : start + _QUERIES_AT_ONCE]
        scores = encoder.encode_text([row.anchor for row in part]) @ passages.T
        for row, own in zip(part, scores, strict=True):
            limit = below * float(own[index_of[row.positive]])
            own[[*right[row.anchor]]] = -np.inf
            own[own > limit] = -np.inf
            best = np.argsort(-own, kind="stable")[:negatives]
            if np.isfinite(own[best]).all():
                found.append(TextRow(row.anchor, row.positive, tuple(pool[number] for number in best)))
        progress(min(start + _QUERIES_AT_ONCE, len(rows)), len(rows))
    return found, len(rows) - len(found)
