"""Which files a folder has: found in an order that can be repeated, each once, links followed but never in circles."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from babelclip.prepare.kinds import HEIF_SUFFIXES, IMAGE_SUFFIXES

FileKind = Literal["image", "heif", "pdf", "text"]

TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst", ".srt", ".vtt"})
SKIPPED_FOLDERS = frozenset({"@eaDir", "node_modules", "__pycache__", "lost+found", "$RECYCLE.BIN"})
"""Folders of other programs; thumbnails and packages lie in them."""


def exact_path(metadata: Mapping[str, object]) -> Path:
    """The path that a row tells, as the file system has it."""
    raw = metadata.get("path_bytes")
    return Path(os.fsdecode(bytes.fromhex(raw)) if isinstance(raw, str) else str(metadata["path"]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files an index holds."""

    text: bool = False  # text files too
    hidden: bool = False  # also files and folders whose names begin with a dot
    exclude: tuple[str, ...] = ()  # patterns of names, or of whole paths where they hold a /


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, and by what a change of it is noticed."""

    path: Path  # absolute
    kind: FileKind
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class UnreadablePath:
    """A file or folder that could not be looked at. What is known of files below it stays."""

    path: Path
    reason: str


def path_id(path: Path) -> str:
    """A short name of a path, for names of any bytes. 32 hex digits."""
    return blake2b(os.fsencode(path), digest_size=16).hexdigest()


def path_text(path: Path) -> str:
    r"""A path as Unicode: bytes that are none are written as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\x00", "")


def walk(root: Path, wanted: Wanted) -> Iterator[FoundFile | UnreadablePath]:
    """All files below a folder (or the file itself), by name within each folder; each folder once, links followed."""
    if not root.exists():
        yield UnreadablePath(root, "is not there")
    elif root.is_dir():
        yield from _below(root, wanted)
    else:
        yield from _file(root, wanted)


def _below(root: Path, wanted: Wanted) -> Iterator[FoundFile | UnreadablePath]:
    entered: set[tuple[int, int]] = set()
    waiting = [root]  # deep trees must not exhaust the stack
    while waiting:
        folder = waiting.pop()
        try:
            own = folder.stat()
            if (own.st_dev, own.st_ino) in entered:  # a link back to a folder that was seen
                continue
            entered.add((own.st_dev, own.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield UnreadablePath(folder, error.strerror or type(error).__name__)
            continue
        folders = []
        for entry in listed:
            path = folder / entry.name
            if _excluded(path, wanted):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError as error:  # a link into itself, among others
                yield UnreadablePath(path, error.strerror or type(error).__name__)
                continue
            if is_folder:
                if entry.name not in SKIPPED_FOLDERS:
                    folders.append(path)
            else:
                yield from _file(path, wanted)
        waiting.extend(reversed(folders))


def _file(path: Path, wanted: Wanted) -> Iterator[FoundFile | UnreadablePath]:
    kind = kind_of_file(path, wanted)
    if kind is None:
        return
    try:
        found = path.stat()
    except OSError as error:
        yield UnreadablePath(path, error.strerror or type(error).__name__)
        return
    if stat.S_ISREG(found.st_mode):  # pipes and devices would never end
        yield FoundFile(path, kind, found.st_size, found.st_mtime_ns)


def kind_of_file(path: Path, wanted: Wanted) -> FileKind | None:
    """What a file is by its name; None where the index does not hold such."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in HEIF_SUFFIXES:
        return "heif"
    if wanted.text and suffix == ".pdf":
        return "pdf"
    return "text" if wanted.text and suffix in TEXT_SUFFIXES else None


def _excluded(path: Path, wanted: Wanted) -> bool:
    if path.name.startswith(".") and not wanted.hidden:
        return True
    return any(fnmatch.fnmatch(os.fspath(path) if "/" in pattern else path.name, pattern) for pattern in wanted.exclude)
