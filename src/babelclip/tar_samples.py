"""Tar archives of captioned or labeled images in WebDataset order: ``<key>.webp`` beside ``<key>.json``.

The one reader of such archives, for evaluation and for training: plain archives (``.tar``) are only indexed, their
files are read where they lie when asked for; packed ones (``.tar.gz`` and others) are read through once, in order.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any, Self

from babelclip.decode import parse_json
from babelclip.errors import DatasetError
from babelclip.prepare.kinds import IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One regular file of an archive."""

    path: Path  # of the archive
    key: str
    suffix: str  # lower case, with its dot
    offset: int  # of its first byte; in the unpacked stream where the archive is packed
    size: int
    content: bytes | None = None  # held here where the archive has no place to read it from

    @property
    def is_image(self) -> bool:
        """Whether the name says that it is an image."""
        return self.suffix in IMAGE_SUFFIXES

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            DatasetError: when the archive cannot be read any more, or has become shorter.
        """
        if self.content is not None:
            return self.content
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read: {error.strerror}") from error
        if len(content) != self.size:
            raise DatasetError(f"{self.path} ends inside {self.key}{self.suffix}: copy or fetch it again")
        return content

    def text(self) -> str:
        """The file as UTF-8.

        Raises:
            DatasetError: when it is no UTF-8.
        """
        try:
            return self.read().decode()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.path}: {self.key}{self.suffix} is no UTF-8 text: {error}") from error

    def record(self) -> dict[str, Any]:
        """The file as a JSON object.

        Raises:
            DatasetError: when it holds anything else.
        """
        try:
            found = parse_json(self.text())
        except ValueError as error:
            raise DatasetError(f"{self.path}: {self.key}{self.suffix} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise DatasetError(
                f"{self.path}: {self.key}{self.suffix} holds a {type(found).__name__}, expected an object"
            )
        return found


@dataclass(frozen=True, slots=True)
class TarSample:
    """An image and what is told of it."""

    key: str
    image: TarEntry
    note: TarEntry


def read_samples(path: Path, notes: Sequence[str]) -> Iterator[TarSample]:
    """Every image of an archive with its note, as they follow each other.

    Memory is constant where the files of a sample follow each other; files that stand apart wait for each other.
    Files that are neither image nor note are passed over.

    Args:
        path: The archive.
        notes: Suffixes of notes, such as ``(".json", ".txt")``; where a sample has several, the first of these counts.

    Raises:
        DatasetError: when the archive is damaged, or has an image or a note without the other.
    """
    waiting: dict[str, dict[str, TarEntry]] = {}
    given: set[str] = set()
    last = ""
    for entry in read_entries(path):
        role = "image" if entry.is_image else entry.suffix
        if role != "image" and role not in notes:
            continue
        if entry.key != last and (sample := _complete(waiting, last, notes)) is not None:
            given.add(last)
            yield sample
        if entry.key in given or role in waiting.get(entry.key, {}):
            raise DatasetError(f"{path}: the files of {entry.key!r} are there twice, or far apart; sort them by name")
        waiting.setdefault(entry.key, {})[role] = entry
        last = entry.key
    for key in list(waiting):
        if (sample := _complete(waiting, key, notes)) is not None:
            yield sample
    if waiting:
        wanted, first = " or ".join(f"a {suffix}" for suffix in notes), min(waiting)
        raise DatasetError(
            f"{path}: expected an image and {wanted} for every key; {len(waiting)} have only one of them, "
            f"such as {first!r}"
        )


def _complete(waiting: dict[str, dict[str, TarEntry]], key: str, notes: Sequence[str]) -> TarSample | None:
    """Take the sample of a key out of those that wait, if all of it is there."""
    found: Mapping[str, TarEntry] = waiting.get(key, {})
    note = next((found[suffix] for suffix in notes if suffix in found), None)
    if note is None or "image" not in found:
        return None
    del waiting[key]
    return TarSample(key, found["image"], note)


def read_entries(path: Path) -> Iterator[TarEntry]:
    """The regular files of an archive, in order; folders and links are left out.

    Raises:
        DatasetError: when there is no such archive, it is damaged, or it ends too early.
    """
    try:
        if _is_plain(path):
            with tarfile.open(path, "r:", tarinfo=_Header) as archive:
                yield from (_entry(path, archive, info, held=info.issparse()) for info in archive if info.isfile())
        else:
            with tarfile.open(path, "r|*", tarinfo=_Header) as archive:
                yield from (_entry(path, archive, info, held=True) for info in archive if info.isfile())
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError, zlib.error, LZMAError) as error:
        raise DatasetError(f"{path} is no readable tar archive: {error}") from error


class _Header(tarfile.TarInfo):
    """A header that is damaged raises, where tarfile would take it for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"its header at byte {archive.offset:,} is damaged ({error})") from error


def _is_plain(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.ReadError:
        return False


def _entry(path: Path, archive: tarfile.TarFile, info: tarfile.TarInfo, *, held: bool) -> TarEntry:
    key, dot, suffix = info.name.rpartition(".")
    if not dot or "/" in suffix:
        key, dot, suffix = info.name, "", ""
    content = None
    if held:
        stream = archive.extractfile(info)
        assert stream is not None, "a regular file has content"
        content = stream.read()
        if len(content) != info.size:
            raise tarfile.ReadError(f"it ends inside {info.name}")
    return TarEntry(path, key, (dot + suffix).lower(), info.offset_data, info.size, content)
