"""Read evaluation data: image packs (WebDataset order) and class names.

A pack is a ``.tar`` or ``.tar.gz`` in which ``<key>.webp`` (jpg, png, ...) and ``<key>.json`` share a key.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.decode import decode_as, parse_json
from babelclip.errors import ConfigError, DatasetError
from babelclip.evaluate.task import DataFile
from babelclip.tar_samples import TarSample, read_samples

LABELS = "labels.json.gz"
PSEUDO_LANGUAGES = frozenset({"en_alt"})
"""WordNet's synonym of the English name (Babel-ImageNet); it is no language."""

_RECORD: Mapping[str, Any] = {
    "captions": dict[str, tuple[str, ...]],
    "caption_sources": dict[str, tuple[str, ...]],
    "licence": str,
    "label": str | int | None,
    "dup": bool | str | int | None,
}
"""Fields of a record that are read."""


@dataclass(frozen=True, slots=True)
class PackPhoto:
    """One image of a pack, still encoded, with its record."""

    key: str
    image: bytes
    record: Mapping[str, Any]

    @property
    def captions(self) -> Mapping[str, list[str]]:
        """Language -> captions; empty where the record has none."""
        captions: Mapping[str, list[str]] = self.record.get("captions", {})
        return captions


@dataclass(frozen=True, slots=True)
class Pack:
    """All images of a set in the order of its files."""

    files: tuple[DataFile, ...]
    photos: tuple[PackPhoto, ...]

    @property
    def licenses(self) -> tuple[str, ...]:
        """The distinct license texts of the records."""
        return tuple(sorted({photo.record["licence"] for photo in self.photos if "licence" in photo.record}))


def read_data_file(folder: Path, path: str) -> tuple[bytes, DataFile]:
    """The bytes of ``folder / path`` and what identifies them.

    Raises:
        DatasetError: there is no such file.
    """
    try:
        content = (folder / path).read_bytes()
    except OSError as error:
        raise DatasetError(
            f"expected the evaluation file {path} in {folder}, found none ({error.strerror}). "
            "Give the folder that holds eval/ and labels.json.gz with --data."
        ) from error
    return content, DataFile(path, hashlib.sha256(content).hexdigest())


def read_pack(folder: Path, path: str) -> Pack:
    """Read a pack of images and records into memory (the evaluation packs have 13 MB at most).

    Raises:
        DatasetError: no such file, a damaged archive, an image without a record or the other way round.
    """
    _, file = read_data_file(folder, path)
    samples = read_samples(folder / path, (".json",))
    photos = tuple(PackPhoto(each.key, each.image.read(), _record(each, path)) for each in samples)
    if not photos:
        raise DatasetError(f"{path} has no image at all")
    return Pack((file,), photos)


def _record(sample: TarSample, path: str) -> dict[str, Any]:
    """What is told of an image; the fields that are read here are of their types."""
    record = sample.note.record()
    try:
        for field, hint in _RECORD.items():
            if field in record:
                decode_as(hint, record[field], f"{path}: {sample.key}.json: {field}")
    except ConfigError as error:
        raise DatasetError(str(error)) from None
    return record


NamesByLabel = dict[str, dict[str, str]]
"""Label -> language -> name. Labels keep the order of the file."""


def read_names(folder: Path, path: str, prefix: str) -> tuple[NamesByLabel, DataFile]:
    """Class names of the labels that start with ``prefix``, without pseudo-languages.

    Raises:
        DatasetError: no such file, not gzipped JSON, or no label with this prefix.
    """
    content, file = read_data_file(folder, path)
    try:
        table: NamesByLabel = decode_as(dict[str, dict[str, str]], parse_json(gzip.decompress(content)), path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(f"{path} is not gzipped JSON of names by label and language: {error}") from error
    names = {
        label: {language: name for language, name in by_language.items() if language not in PSEUDO_LANGUAGES}
        for label, by_language in table.items()
        if label.startswith(prefix)
    }
    if not names:
        raise DatasetError(f"{path} has no label that starts with {prefix!r}")
    return names, file
