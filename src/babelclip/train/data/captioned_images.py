"""Images with captions, from what people have: a folder with a captions file, or tar shards.

- folder: ``captions.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` beside or above the images. A row names an image
  (``image``, ``file``, ``file_name``, ``filename`` or ``path``) and has a ``caption`` or ``text``, and perhaps a
  ``language`` or ``lang``; rows of one image belong together. A row may have ``captions`` {language: [text, ...]}.
- tar shards (``*.tar``, ``*.tar.gz``; WebDataset order): an image and, of the same key, ``.json`` with ``captions`` or
  ``caption``, or ``.txt`` with a caption a line (CLIP_benchmark's retrieval sets).

A ``label`` beside the captions says what an image shows: images of one label mean the same. Nothing is decoded here; an
image that turns out to be broken is skipped where it is read (``babelclip.train.data.image_reader``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from babelclip.errors import DatasetError
from babelclip.tar_samples import TarSample, read_samples
from babelclip.train.data.table_rows import TableRow, column, read_table_rows

CAPTION_FILES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.parquet")
IMAGE_COLUMNS = ("image", "file", "file_name", "filename", "path")
TEXT_COLUMNS = ("caption", "text")
LANGUAGE_COLUMNS = ("language", "lang")
UNKNOWN = "und"  # BCP 47 for a language that nobody told
Captions = Mapping[str, Sequence[str]]
"""Language -> captions."""


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image, not opened yet."""

    name: str  # the same wherever the data lie: the path below the captions file, or the key in a shard
    where: str  # for messages
    read: Callable[[], bytes]
    captions: Captions
    label: str | None = None

    @property
    def meaning(self) -> str:
        """What tells it from images that show something else."""
        return self.name if self.label is None else self.label


CaptionedImages = Sequence[CaptionedImage]


def open_captioned_images(path: Path, *, need_captions: bool = True) -> CaptionedImages:
    """The images of a folder with a captions file, of a folder of shards, or of one shard.

    Args:
        path: Of the folder or file.
        need_captions: False where images alone are wanted: those without captions count then.

    Raises:
        DatasetError: There is nothing of this kind, or a row is not as documented; the row is named.
    """
    if path.is_dir():
        files = [path / name for name in CAPTION_FILES if (path / name).is_file()]
        if len(files) == 1:
            return _of_captions_file(files[0], need_captions)
        if len(files) > 1:
            raise DatasetError(f"{path} has {' and '.join(file.name for file in files)}; keep one of them")
        shards = sorted(file for file in path.rglob("*") if file.name.endswith((".tar", ".tar.gz")))
        if shards:
            return _of_shards(shards, need_captions)
        raise DatasetError(f"{path} has neither a captions file ({', '.join(CAPTION_FILES)}) nor *.tar shards")
    if path.name.endswith((".tar", ".tar.gz")) and path.is_file():
        return _of_shards([path], need_captions)
    if path.name.startswith("captions.") and path.is_file():
        return _of_captions_file(path, need_captions)
    raise DatasetError(f"{path} is neither a folder of captioned images, nor a captions file, nor a .tar shard")


def _of_captions_file(captions_file: Path, need_captions: bool) -> CaptionedImages:
    found: dict[str, CaptionedImage] = {}
    for number, row in enumerate(read_table_rows(captions_file), start=1):
        where = f"{captions_file.name}, row {number}"
        name = str(column(row, IMAGE_COLUMNS, where))
        file = captions_file.parent / name
        captions, label = _row_captions(row, where, need_captions), _label(row)
        before = found.get(name)
        if before is None:
            found[name] = CaptionedImage(name, str(file), file.read_bytes, captions, label)
        else:
            both = _joined([before.captions, captions])
            found[name] = replace(before, captions=both, label=before.label or label)
    absent = [image.where for image in found.values() if not _is_file(image.where)]
    if absent or not found:
        lack = f"{len(absent)} images do not exist, such as {absent[0][:300]!r}" if absent else "no rows"
        raise DatasetError(f"{captions_file}: {lack}")
    return tuple(found.values())


def _of_shards(shards: Sequence[Path], need_captions: bool) -> CaptionedImages:
    """Shards are read through once for captions and places, then each image at its place; packed ones are held."""
    samples = (sample for shard in shards for sample in read_samples(shard, (".txt", ".json")))
    images = tuple(_of_sample(sample, need_captions) for sample in samples)
    if not images:
        raise DatasetError(f"no captioned images in {', '.join(shard.name for shard in shards)}")
    return images


def _of_sample(sample: TarSample, need_captions: bool) -> CaptionedImage:
    note, image, label = sample.note, sample.image, None
    if note.suffix == ".json":
        record = note.record()
        captions = _row_captions(record, f"{note.path.name}: {note.key}.json", need_captions)
        label = _label(record)
    else:
        captions = {UNKNOWN: [line for line in note.text().splitlines() if line.strip()]}
    return CaptionedImage(image.key, f"{image.path}: {image.key}", image.read, captions, label)


def _label(row: TableRow) -> str | None:
    return None if row.get("label") is None else str(row["label"])


def _joined(parts: Iterable[Captions]) -> Captions:
    joined: dict[str, list[str]] = {}
    for captions in parts:
        for language, texts in captions.items():
            joined.setdefault(language, []).extend(texts)
    return joined


def _row_captions(row: TableRow, where: str, needed: bool) -> Captions:
    captions = row.get("captions")
    if isinstance(captions, dict):
        some = {str(language): _texts(texts, where) for language, texts in captions.items() if texts}
        if some:
            return some
    if isinstance(captions, list) and captions:
        return {UNKNOWN: [str(text) for text in captions]}
    if not needed and not any(name in row for name in TEXT_COLUMNS):
        return {}
    language = next((str(row[name]) for name in LANGUAGE_COLUMNS if name in row), UNKNOWN)
    return {language: [str(column(row, TEXT_COLUMNS, where))]}


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long a name, a NUL or half a character in it
        return False


def _texts(texts: Any, where: str) -> list[str]:
    if not isinstance(texts, list | tuple):
        raise DatasetError(f"{where}: expected a list of captions for each language, found {str(texts)[:100]!r}")
    return [str(text) for text in texts]


def all_captions(images: CaptionedImages) -> Iterator[str]:
    """Every caption of every image."""
    return (text for image in images for texts in image.captions.values() for text in texts)
