"""Texts that belong together, from JSONL, CSV or Parquet files: pairs, triplets, scored pairs.

- pairs: ``anchor`` (or ``query``, ``sentence1``) and ``positive`` (or ``passage``, ``sentence2``)
- triplets: the same, and ``negatives`` (a list) or ``negative``; perhaps ``scores``, a reranker's logits for the
  positive and then each negative
- scored pairs: ``anchor``, ``positive`` and ``score``, higher for more alike
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.errors import DatasetError
from babelclip.train.data.captioned import read_rows

ANCHOR = ("anchor", "query", "sentence1")
POSITIVE = ("positive", "passage", "sentence2")
NEGATIVES = ("negatives", "negative")


@dataclass(frozen=True, slots=True)
class TextRow:
    """Texts that belong together, and those that do not."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    score: float | None = None  # how alike anchor and positive are
    scores: tuple[float, ...] = ()  # a reranker's logits: of the positive, then of each negative


def read_text_rows(path: Path, *, negatives: int = 0, scored: bool = False) -> tuple[TextRow, ...]:
    """Rows of a file, or of all such files of a folder.

    negatives: how many each row must have; more are cut off. scored: each row must have a score.

    Raises:
        DatasetError: no file, or a row that lacks something; file and row are named.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".jsonl", ".csv", ".tsv", ".parquet"))
    rows = tuple(
        _text_row(row, negatives, scored, f"{file.name}, row {number}")
        for file in files
        for number, row in enumerate(read_rows(file), start=1)
    )
    if not rows:
        raise DatasetError(f"{path} has no rows")
    return rows


def _text_row(row: Mapping[str, Any], negatives: int, scored: bool, where: str) -> TextRow:
    anchor, positive = _first(row, ANCHOR, where), _first(row, POSITIVE, where)
    found: Any = next((row[name] for name in NEGATIVES if name in row), [])
    wrong = [str(text) for text in (found if isinstance(found, list) else [found])]
    if len(wrong) < negatives:
        raise DatasetError(f"{where}: expected {negatives} negatives, found {len(wrong)}")
    if scored and "score" not in row:
        raise DatasetError(f"{where}: expected a score, found {', '.join(row)}")
    scores = tuple(float(score) for score in row.get("scores", ()))
    if scores and len(scores) != 1 + len(wrong):
        raise DatasetError(f"{where}: expected {1 + len(wrong)} scores (positive, then negatives), found {len(scores)}")
    score = float(row["score"]) if "score" in row else None
    return TextRow(str(anchor), str(positive), tuple(wrong[:negatives]), score, scores[: negatives + 1])


def _first(row: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise DatasetError(f"{where}: expected one of {', '.join(names)}, found {', '.join(row) or 'nothing'}")
