"""Images with captions, from what people have: a folder with a captions file, or tar shards.

- folder: ``captions.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` beside or above the images. A row names an image
  (``image``, ``file``, ``file_name``, ``filename`` or ``path``) and has a ``caption`` or ``text``, and perhaps a
  ``language`` or ``lang``; rows of one image belong together. A row may have ``captions`` {language: [text, ...]}.
- tar shards (``*.tar``, ``*.tar.gz``; WebDataset order): an image and, of the same key, ``.json`` with ``captions`` or
  ``caption``, or ``.txt`` with a caption a line (CLIP_benchmark's retrieval sets).

Nothing is decoded here. An image that turns out to be broken is skipped where it is read (``ContrastStage``).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as parquet

from babelclip.errors import DatasetError
from babelclip.tar_samples import TarEntry, read_samples

CAPTION_FILES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.parquet")
IMAGE_COLUMNS = ("image", "file", "file_name", "filename", "path")
TEXT_COLUMNS = ("caption", "text")
LANGUAGE_COLUMNS = ("language", "lang")
UNKNOWN = "und"  # BCP 47 for a language that nobody told
Captions = Mapping[str, Sequence[str]]
"""Language -> captions."""


class CaptionedImages(Protocol):
    """Images with captions, by number."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """What to call an image in a message."""
        ...

    def image(self, row: int) -> bytes:
        """Its file's bytes."""
        ...

    def captions(self, row: int) -> Captions:
        """At least one text."""
        ...


def open_captioned(path: Path) -> CaptionedImages:
    """A folder with a captions file, a folder of shards, or one shard.

    Raises:
        DatasetError: there is nothing of this kind, or a row is not as documented.
    """
    if path.is_dir():
        files = [path / name for name in CAPTION_FILES if (path / name).is_file()]
        if len(files) == 1:
            return CaptionFolder(files[0])
        if len(files) > 1:
            raise DatasetError(f"{path} has {' and '.join(file.name for file in files)}; keep one of them")
        shards = sorted(file for file in path.rglob("*") if file.name.endswith((".tar", ".tar.gz")))
        if shards:
            return TarShards(shards)
        raise DatasetError(f"{path} has neither a captions file ({', '.join(CAPTION_FILES)}) nor *.tar shards")
    if path.name.endswith((".tar", ".tar.gz")) and path.is_file():
        return TarShards([path])
    if path.name.startswith("captions.") and path.is_file():
        return CaptionFolder(path)
    raise DatasetError(f"{path} is neither a folder of captioned images, nor a captions file, nor a .tar shard")


class CaptionFolder:
    """Images named by the rows of a captions file.

    Raises:
        DatasetError: a row without image or caption, or an image that does not exist; the row is named.
    """

    def __init__(self, captions_file: Path) -> None:
        found: dict[Path, dict[str, list[str]]] = {}
        for number, row in enumerate(read_rows(captions_file), start=1):
            where = f"{captions_file.name}, row {number}"
            image = captions_file.parent / _column(row, IMAGE_COLUMNS, where)
            captions = found.setdefault(image, {})
            for language, texts in _row_captions(row, where).items():
                captions.setdefault(language, []).extend(texts)
        absent = [str(image) for image in found if not image.is_file()]
        if absent or not found:
            lack = f"{len(absent)} images do not exist, such as {absent[0]}" if absent else "no rows"
            raise DatasetError(f"{captions_file}: {lack}")
        self._images = tuple(found.items())

    def __len__(self) -> int:
        return len(self._images)

    def name(self, row: int) -> str:
        return str(self._images[row][0])

    def image(self, row: int) -> bytes:
        return self._images[row][0].read_bytes()

    def captions(self, row: int) -> Captions:
        return self._images[row][1]


class TarShards:
    """Images inside tar files: read through once for captions and places, then each image at its place.

    Packed shards (``.tar.gz``) have no places to read at, so their images are kept in memory.

    Raises:
        DatasetError: an image without captions, or captions without an image; the first is named.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        samples = (sample for shard in shards for sample in read_samples(shard, (".txt", ".json")))
        self._images = tuple((sample.image, _note_captions(sample.note)) for sample in samples)
        if not self._images:
            raise DatasetError(f"no captioned images in {', '.join(shard.name for shard in shards)}")

    def __len__(self) -> int:
        return len(self._images)

    def name(self, row: int) -> str:
        entry = self._images[row][0]
        return f"{entry.path}: {entry.key}"

    def image(self, row: int) -> bytes:
        return self._images[row][0].read()

    def captions(self, row: int) -> Captions:
        return self._images[row][1]


def _note_captions(note: TarEntry) -> Captions:
    if note.suffix == ".json":
        return _row_captions(note.record(), f"{note.path.name}: {note.key}.json")
    return {UNKNOWN: [line for line in note.text().splitlines() if line.strip()]}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a CSV, TSV, JSONL or Parquet file by column name; empty cells are left out.

    Raises:
        DatasetError: no such file, another format, or a line that cannot be read.
    """
    if not path.is_file():
        raise DatasetError(f"there is no file {path}")
    try:
        if path.suffix in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows: list[dict[str, Any]] = list(
                    csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t")
                )
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
        elif path.suffix == ".parquet":
            rows = parquet.read_table(path).to_pylist()
        else:
            raise DatasetError(f"{path.name}: expected .csv, .tsv, .jsonl or .parquet")
    except (UnicodeDecodeError, ValueError, csv.Error, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    for row in rows:
        yield {name: value for name, value in row.items() if value not in (None, "", [])}


def _column(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if name in row:
            return str(row[name])
    raise DatasetError(
        f"{where}: expected a column {' or '.join(names)}, found {', '.join(map(str, row)) or 'nothing'}"
    )


def _row_captions(row: Mapping[str, Any], where: str) -> Captions:
    captions = row.get("captions")
    if isinstance(captions, dict):
        kept = {str(language): [str(text) for text in texts] for language, texts in captions.items() if texts}
        if kept:
            return kept
    if isinstance(captions, list) and captions:
        return {UNKNOWN: [str(text) for text in captions]}
    language = next((str(row[name]) for name in LANGUAGE_COLUMNS if name in row), UNKNOWN)
    return {language: [_column(row, TEXT_COLUMNS, where)]}
