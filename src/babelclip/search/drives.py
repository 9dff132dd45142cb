"""Drives that come and go: the empty folder that one leaves behind must not count as emptied.

A file of its own, because it is one idea that indexing needs at its two ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from babelclip.search.index_notes import read_note
from babelclip.search.store import Database
from babelclip.search.walk import path_text

MOUNTED = "mounted"
"""The note of indexed folders that are the root of a drive."""


def drives_away(database: Database, folders: Iterable[Path]) -> set[Path]:
    """Those of the folders that were the root of a drive when they were last indexed, and are empty without it."""
    mounted = _mounted(database)
    return {folder for folder in folders if path_text(folder) in mounted and _is_left_behind(folder)}


def note_drives(database: Database, folders: Iterable[Path], away: Iterable[Path]) -> None:
    """Remember which of the folders, just indexed, are roots of drives."""
    before = _mounted(database)
    here, gone = list(folders), set(away)
    now = {path_text(folder) for folder in here if folder in gone or os.path.ismount(folder)}
    after = (before - {path_text(folder) for folder in here}) | now
    if after != before:
        database.note({MOUNTED: json.dumps(sorted(after))})


def _mounted(database: Database) -> set[str]:
    return set(read_note(database.notes(), MOUNTED, tuple[str, ...], ()))


def _is_left_behind(folder: Path) -> bool:
    try:
        return not os.path.ismount(folder) and not os.listdir(folder)
    except OSError:  # then it is not there at all, or cannot be read: the walk says so
        return False
