"""Notice changes in folders by looking at them again: the same everywhere, network drives included.

A look walks the folders as indexing does. What differs from the look before is looked at once more a little later: a
file that is still being written, copied or moved waits, and holds up no other.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from babelclip.search.walk import FoundFile, UnreadablePath, Wanted, walk

SETTLE = 2.0
"""Seconds that a file must stay the same before it is taken for whole."""
SHORTEST, LONGEST, SHARE = 2.0, 300.0, 20
"""Seconds between looks; a look that took long is followed by a pause so many times as long."""

Stamp = tuple[int, int]
"""Size and time of a file: one of them changes when the file does."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a look found."""

    folders: list[Path]  # in which a file has come, gone or changed, and is whole
    unsettled: frozenset[Path]  # files that are changing still, in any folder
    away: frozenset[Path]  # folders that are not there
    seconds: float  # that it took to walk the folders


class Watch:
    """Remembers files by size and time, and tells what has changed since."""

    def __init__(self, settle: float = SETTLE) -> None:
        self._settle = settle
        self._known: dict[Path, dict[str, Stamp]] = {}

    def look(self, folders: Mapping[Path, Wanted]) -> Changes:
        """What has changed since the last look; at the first one, each folder that has any files.

        Takes ``settle`` seconds more where something differs. A folder that is not there has not changed.
        """
        start = time.monotonic()
        found, away = {}, set()
        for folder, wanted in folders.items():
            files = _files(folder, wanted)
            if files is None:
                away.add(folder)
            else:
                found[folder] = files
        seconds = time.monotonic() - start
        differing = {folder: self._differing(folder, files) for folder, files in found.items()}
        if any(differing.values()):
            time.sleep(self._settle)
        ready, unsettled = [], set()
        for folder, files in found.items():
            before = self._known.get(folder, {})
            changing = {path for path in differing[folder] if _stamp(path) != files.get(path)}
            for path in changing:  # as before, so that the next look finds them again
                files.pop(path, None)
                if path in before:
                    files[path] = before[path]
            self._known[folder] = files
            unsettled |= changing
            if differing[folder] - changing:
                ready.append(folder)
        return Changes(ready, frozenset(map(Path, unsettled)), frozenset(away), seconds)

    def forget(self, folders: list[Path]) -> None:
        """Take all files of folders for new at the next look, as after a run that failed."""
        for folder in folders:
            self._known.pop(folder, None)

    def _differing(self, folder: Path, files: Mapping[str, Stamp]) -> set[str]:
        before = self._known.get(folder, {})
        return {path for path, stamp in files.items() if before.get(path) != stamp} | (before.keys() - files.keys())


def pause_after(changes: Changes) -> float:
    """Seconds until the next look: looking takes a small share of the time."""
    return min(LONGEST, max(SHORTEST, SHARE * changes.seconds))


def _files(folder: Path, wanted: Wanted) -> dict[str, Stamp] | None:
    """The files of a folder; None where it cannot be looked at."""
    files = {}
    for found in walk(folder, wanted):
        if isinstance(found, FoundFile):
            files[os.fspath(found.path)] = (found.size, found.mtime_ns)
        elif isinstance(found, UnreadablePath) and found.path == folder:
            return None
    return files


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
