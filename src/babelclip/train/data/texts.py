"""Single texts with what each should mean, for distillation: rows of JSONL, CSV or Parquet files.

A row has a ``text``, perhaps a ``language``, and perhaps ``targets``: the ids of the stored vectors whose mean it is to
have (a list, or one; see ``babelclip.train.data.stored_vectors``). A translation names its English original, a caption
its photo, the name of a class the class; a row without targets is its own id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import DatasetError
from babelclip.train.data.captioned_images import LANGUAGE_COLUMNS, UNKNOWN
from babelclip.train.data.table_rows import TableRow, column, read_tables


@dataclass(frozen=True, slots=True)
class Text:
    """One text."""

    text: str
    language: str
    targets: tuple[str, ...]  # ids whose vectors' mean it is to have


Texts = Sequence[Text]


def read_texts(path: Path) -> tuple[Text, ...]:
    """Texts of a file, or of all such files of a folder.

    Raises:
        DatasetError: No file, or a row without text; file and row are named.
    """
    texts = tuple(_text(row, where) for row, where in read_tables(path))
    if not texts:
        raise DatasetError(f"{path} has no rows")
    return texts


def _text(row: TableRow, where: str) -> Text:
    text = str(column(row, ("text", "caption"), where))
    language = next((str(row[name]) for name in LANGUAGE_COLUMNS if name in row), UNKNOWN)
    targets = row.get("targets", row.get("target", text))
    return Text(text, language, tuple(map(str, targets)) if isinstance(targets, list) else (str(targets),))
