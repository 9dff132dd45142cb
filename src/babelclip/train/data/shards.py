"""Photo packs: ``*.tar.gz`` in WebDataset order, an image file and then a ``.json`` record of the same key.

A record has ``id``, ``source``, ``kind`` (caption | label | product), ``licence``, ``captions`` {language: [text, ...]}
and, where labelled, ``label``: a key such as ``in1k:207`` into a table of class names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import DatasetError
from babelclip.tar_samples import read_samples


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """What a pack says about one image."""

    key: str
    source: str
    kind: str
    licence: str
    captions: Mapping[str, tuple[str, ...]]
    label: str | None


def read_packs(folder: Path, exclude_sources: Collection[str] = ()) -> Iterator[tuple[PhotoRecord, bytes]]:
    """Every image of the packs in a folder, packs in the order of their names.

    Raises: DatasetError when the folder has no packs or a pack is not in the documented form.
    """
    packs = sorted(folder.glob("*.tar.gz"))
    if not packs:
        raise DatasetError(
            f"no *.tar.gz packs in {folder}. Set --data or BABELCLIP_DATASETS to the folder that has train/"
        )
    for pack in packs:
        for record, image in read_pack(pack):
            if record.source not in exclude_sources:
                yield record, image


def read_pack(path: Path) -> Iterator[tuple[PhotoRecord, bytes]]:
    """Every (record, encoded image) of one pack, streamed.

    Raises: DatasetError when the archive is damaged, or an image or a record is without the other.
    """
    for sample in read_samples(path, (".json",)):
        yield parse_record(sample.note.record(), f"{path}:{sample.key}.json"), sample.image.read()


def parse_record(fields: Mapping[str, object], where: str) -> PhotoRecord:
    """One JSON record. Raises: DatasetError naming the record and the missing field."""
    try:
        captions = fields.get("captions") or {}
        assert isinstance(captions, dict)
        label = fields.get("label")
        return PhotoRecord(
            key=str(fields["id"]),
            source=str(fields["source"]),
            kind=str(fields["kind"]),
            licence=str(fields.get("licence", "")),
            captions={language: tuple(texts) for language, texts in captions.items()},
            label=None if label is None else str(label),
        )
    except (KeyError, AssertionError) as error:
        raise DatasetError(f"{where}: the record lacks a documented field ({error!r})") from None
