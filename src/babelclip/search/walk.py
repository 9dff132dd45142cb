"""Which files a folder has: found in an order that can be repeated, each once, links followed but never in circles."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from babelclip.prepare.kinds import IMAGE_SUFFIXES
from babelclip.prepare.recognize import HEAD_BYTES, format_of
from babelclip.search.left_out import IGNORE_FILE, Rules, is_marked, rules_in, rules_of, why_left_out

FileKind = Literal["image", "pdf", "text"]
"""What a file is by its name, or by its bytes where the user named it; ``read_file`` looks at the bytes of each."""

TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst", ".srt", ".vtt"})


def exact_path(metadata: Mapping[str, object]) -> Path:
    """The path that a row tells, as the file system has it."""
    raw = metadata.get("path_bytes")
    return Path(os.fsdecode(bytes.fromhex(raw)) if isinstance(raw, str) else str(metadata["path"]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files an index holds."""

    text: bool = False  # text files too
    hidden: bool = False  # also files and folders whose names begin with a dot
    exclude: tuple[str, ...] = ()  # patterns as in a .gitignore, from the folder on; with / before them whole paths too


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


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or folder that the index does not hold, and what kind of thing it is."""

    path: Path
    what: str


Found = FoundFile | UnreadablePath | PassedOver


def path_id(path: Path) -> str:
    """A short name of a path, for names of any bytes. 32 hex digits."""
    return blake2b(os.fsencode(path), digest_size=16).hexdigest()


def path_text(path: Path) -> str:
    r"""A path as Unicode: bytes that are none are written as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\x00", "")


def walk(root: Path, wanted: Wanted) -> Iterator[Found]:
    """All files below a folder (or the file itself), by name within each folder; each folder once, links followed.

    What the user named is looked at whatever it is called; only below it are there rules.
    """
    if not root.exists():
        yield UnreadablePath(root, "is not there")
    elif root.is_dir():
        yield from _below(root, wanted)
    else:
        yield from _named_file(root, wanted)


def _below(root: Path, wanted: Wanted) -> Iterator[Found]:
    entered: set[tuple[int, int]] = set()
    absolute = [pattern for pattern in wanted.exclude if pattern.startswith("/")]
    waiting: list[tuple[Path, tuple[Rules, ...]]] = [(root, (rules_of(root, wanted.exclude),))]  # no deep recursion
    while waiting:
        folder, rules = waiting.pop()
        try:
            own = folder.stat()
            if (own.st_dev, own.st_ino) in entered:  # a link back to a folder that was seen
                continue
            entered.add((own.st_dev, own.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
            if folder != root and is_marked([entry.name for entry in listed]):
                yield PassedOver(folder, "folders marked as holding no media")
                continue
            rules = _with_own(folder, rules)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"its {IGNORE_FILE} cannot be read: {error}"
            yield UnreadablePath(folder, reason or type(error).__name__)
            continue
        folders = []
        for entry in listed:
            path = folder / entry.name
            try:
                is_folder = entry.is_dir()
            except OSError as error:  # a link into itself, among others
                yield UnreadablePath(path, error.strerror or type(error).__name__)
                continue
            why = why_left_out(path, rules, absolute, is_folder=is_folder, hidden=wanted.hidden)
            if why is not None:
                if entry.name != IGNORE_FILE:
                    yield PassedOver(path, why)
            elif is_folder:
                folders.append((path, rules))
            else:
                yield from _file(path, kind_of_file(path, wanted))
        waiting.extend(reversed(folders))


def _with_own(folder: Path, rules: tuple[Rules, ...]) -> tuple[Rules, ...]:
    """The rules around a folder and its own; those of the command line have the last word."""
    own = rules_in(folder)
    return rules if own is None else (*rules[:-1], own, rules[-1])


def _named_file(path: Path, wanted: Wanted) -> Iterator[Found]:
    """A file that the user named is what its bytes say."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for a writer
            yield PassedOver(path, "pipes and devices")
            return
        with path.open("rb") as file:
            format = format_of(file.read(HEAD_BYTES))
    except OSError as error:
        yield UnreadablePath(path, error.strerror or type(error).__name__)
        return
    by_bytes: FileKind | None = None if format is None else "pdf" if format == "PDF" else "image"
    yield from _file(path, kind_of_file(path, Wanted(text=True)) or by_bytes or "image")


def _file(path: Path, kind: FileKind | None) -> Iterator[Found]:
    try:
        found = path.stat()
    except OSError as error:
        yield UnreadablePath(path, error.strerror or type(error).__name__)
        return
    if not stat.S_ISREG(found.st_mode):  # pipes and devices would never end
        yield PassedOver(path, "pipes and devices")
    elif kind is None:
        yield PassedOver(path, _suffix_of(path))
    else:
        yield FoundFile(path, kind, found.st_size, found.st_mtime_ns)


def kind_of_file(path: Path, wanted: Wanted) -> FileKind | None:
    """What a file is by its name; None where the index does not hold such."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if wanted.text and suffix == ".pdf":
        return "pdf"
    return "text" if wanted.text and suffix in TEXT_SUFFIXES else None


def _suffix_of(path: Path) -> str:
    """A kind of file by its name, of a sort of which there are not too many."""
    suffix = path.suffix.lower()
    return suffix if 1 < len(suffix) <= 10 and suffix.isascii() and suffix[1:].isalnum() else "of other names"
