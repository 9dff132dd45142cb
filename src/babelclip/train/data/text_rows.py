"""Texts that belong together, from JSONL, CSV or Parquet files: pairs, triplets, scored pairs.

- pairs: ``anchor`` (or ``query``, ``sentence1``) and ``positive`` (or ``passage``, ``sentence2``)
- triplets: the same, and ``negatives`` (a list) or ``negative``; perhaps ``scores``, a reranker's logits for the
  positive and then each negative
- scored pairs: ``anchor``, ``positive`` and ``score``, higher for more alike; perhaps a ``language``, so that only
  pairs of one language are put in order beside each other
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.errors import DatasetError
from babelclip.train.data.captioned_images import LANGUAGE_COLUMNS, UNKNOWN
from babelclip.train.data.table_rows import TableRow, column, read_tables

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
    language: str = UNKNOWN


TextRows = Sequence[TextRow]


def read_text_rows(path: Path, *, negatives: int = 0, scored: bool = False) -> tuple[TextRow, ...]:
    """Rows of a file, or of all such files of a folder.

    Args:
        path: Of the file or folder.
        negatives: How many each row must have; more are cut off.
        scored: Each row must have a score.

    Raises:
        DatasetError: No file, or a row that lacks something; file and row are named.
    """
    rows = tuple(_text_row(row, negatives, scored, where) for row, where in read_tables(path))
    if not rows:
        raise DatasetError(f"{path} has no rows")
    return rows


def _text_row(row: TableRow, negatives: int, scored: bool, where: str) -> TextRow:
    anchor, positive = column(row, ANCHOR, where), column(row, POSITIVE, where)
    found: Any = next((row[name] for name in NEGATIVES if name in row), [])
    wrong = [str(text) for text in (found if isinstance(found, list) else [found])]
    if len(wrong) < negatives:
        raise DatasetError(f"{where}: expected {negatives} negatives, found {len(wrong)}")
    if scored and "score" not in row:
        raise DatasetError(f"{where}: expected a score, found {', '.join(row)}")
    scores = _numbers(row.get("scores", ()), f"{where}: scores")
    if scores and len(scores) != 1 + len(wrong):
        raise DatasetError(f"{where}: expected {1 + len(wrong)} scores (positive, then negatives), found {len(scores)}")
    score = _numbers([row["score"]], f"{where}: score")[0] if "score" in row else None
    language = next((str(row[name]) for name in LANGUAGE_COLUMNS if name in row), UNKNOWN)
    return TextRow(str(anchor), str(positive), tuple(wrong[:negatives]), score, scores[: negatives + 1], language)


def _numbers(values: Any, where: str) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{where}: expected numbers: {error}") from error
