"""Our photo packs: ``train/*.tar.gz`` in WebDataset order, an image file and then a ``.json`` record of the same key.

A record has ``id``, ``source``, ``kind`` (caption | label | product | photo), ``licence``, ``captions`` {language:
[text, ...]} and, where labeled, ``label``: a key such as ``in1k:207`` into the table of class names.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path, PurePosixPath

from babelclip.errors import DatasetError
from babelclip.prepare.kinds import IMAGE_SUFFIXES
from babelclip.tar_samples import read_samples


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """What a pack says about one image."""

    id: str
    source: str
    kind: str
    license: str
    captions: Mapping[str, tuple[str, ...]]
    label: str | None

    @property
    def key(self) -> str:
        """The id without the suffix of an image file, so that it can name a sample of a shard."""
        path = PurePosixPath(self.id)
        return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)


def read_packs(data: Path, exclude_sources: Collection[str] = ()) -> Iterator[tuple[PhotoRecord, bytes]]:
    """Every image of a data folder's packs, packs in the order of their names.

    Raises:
        DatasetError: the folder has no packs, or a pack is not in the documented form.
    """
    packs = sorted((data / "train").glob("*.tar.gz"))
    if not packs:
        raise DatasetError(f"no *.tar.gz packs in {data / 'train'}. Give --data the folder that has train/ and text/")
    for pack in packs:
        for record, image in read_pack(pack):
            if record.source not in exclude_sources:
                yield record, image


def read_pack(path: Path) -> Iterator[tuple[PhotoRecord, bytes]]:
    """Every (record, encoded image) of one pack, streamed.

    Raises:
        DatasetError: the archive is damaged, an image or a record is without the other, or a record is not as
            documented.
    """
    for sample in read_samples(path, (".json",)):
        yield parse_record(sample.note.record(), f"{path}:{sample.key}.json"), sample.image.read()


def parse_record(fields: Mapping[str, object], where: str) -> PhotoRecord:
    """One JSON record.

    Raises:
        DatasetError: a field is missing; the record and the field are named.
    """
    captions, label = fields.get("captions") or {}, fields.get("label")
    if not isinstance(captions, dict):
        raise DatasetError(f"{where}: captions are {captions!r}, expected {{language: [text, ...]}}")
    try:
        return PhotoRecord(
            id=str(fields["id"]),
            source=str(fields["source"]),
            kind=str(fields["kind"]),
            license=str(fields.get("licence", "")),
            captions={language: tuple(texts) for language, texts in captions.items()},
            label=None if label is None else str(label),
        )
    except KeyError as error:
        raise DatasetError(f"{where}: the record lacks the documented field {error}") from None


def held_out_photos(records: Iterable[PhotoRecord], source: str, share: int) -> frozenset[str]:
    """Ids of every ``share``-th photo of a captioned source, by the hash of its id, to choose settings on."""
    photos = (record for record in records if record.source == source and record.captions.get("en"))
    return frozenset(record.id for record in photos if zlib.crc32(record.id.encode()) % share == 0)


def spread(records: Iterable[PhotoRecord], held_out: frozenset[str], limit: int) -> list[PhotoRecord]:
    """The first photos of every source and of what is held out, in turn: ``limit`` in all, in the records' order."""
    by_source: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    records = list(records)
    for record in records:
        by_source[record.source, record.kind, record.id in held_out].append(record.id)
    in_turn = (photo for turn in zip_longest(*by_source.values()) for photo in turn if photo is not None)
    chosen = set(islice(in_turn, limit))
    return [record for record in records if record.id in chosen]
