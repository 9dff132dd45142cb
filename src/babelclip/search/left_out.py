"""Which files and folders are left out of an index: other programs' folders, marked folders, what rules name.

A file of its own, because walking a folder is one thing and what people do not want to find is another.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pathspec

IGNORE_FILE = ".babelclipignore"
"""Rules as in a .gitignore, for the folder that it lies in and all below."""
_OTHER_PROGRAMS = frozenset(
    """
    @eadir/@tmp/@recycle/#recycle/@recently-snapshot/#snapshot/@sharebin/@__thumb/.@__thumb/.@upload_cache/.recycle/
    .recycler/recycler/recycled/$recycle.bin/.trash/.trashes/.wastebasket/.thumbnails/.sharedthumbnails/.thumb/.thumbs/
    .xvpics/lost+found/found.000/.snapshot/.snapshots/.zfs/.fseventsd/.spotlight-v100/.temporaryitems/.appledouble/
    .documentrevisions-v100/.appledb/node_modules/__pycache__/system volume information/network trash folder/
    temporary items
    """.replace("\n    ", "")
    .strip()
    .split("/")
)
_OTHER_PROGRAMS_START = ".trash-"
"""Recycle bins, snapshots and small pictures that systems, storage boxes and programs keep; names in lower case."""
_MARKERS = frozenset({".nomedia", ".noimage", ".noindex", ".ndignore"})
"""Files that say: here is nothing to look at."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules of one place say of files below it."""

    base: Path
    spec: pathspec.GitIgnoreSpec

    def verdict(self, path: Path, *, is_folder: bool) -> bool | None:
        """True: left out; False: kept by a ``!`` rule; None: nothing."""
        relative = os.fsencode(path.relative_to(self.base)).decode("utf-8", "surrogateescape")
        return self.spec.check_file(f"{relative}/" if is_folder else relative).include


def rules_of(base: Path, lines: Sequence[str]) -> Rules:
    """Rules of patterns as git reads them.

    Raises:
        ValueError: a pattern that cannot be read.
    """
    return Rules(base, pathspec.GitIgnoreSpec.from_lines(lines))


def rules_in(folder: Path) -> Rules | None:
    """The rules of a folder's own ignore file; None where there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, or holds a pattern that cannot be read.
    """
    file = folder / IGNORE_FILE
    if not file.is_file():
        return None
    return rules_of(folder, file.read_text("utf-8-sig").splitlines())


def is_marked(names: Sequence[str]) -> bool:
    """Whether a folder with files of these names says that it holds no media."""
    return not _MARKERS.isdisjoint(names)


def why_left_out(
    path: Path, rules: Sequence[Rules], absolute: Sequence[str], *, is_folder: bool, hidden: bool
) -> str | None:
    """Why a file or folder is left out; None where it is not.

    Args:
        rules: of the folders around it, the innermost last; as in git the last that has a say decides.
        absolute: patterns of whole paths.
        hidden: what begins with a dot is wanted too.
    """
    name = path.name.lower()
    if is_folder and (name in _OTHER_PROGRAMS or name.startswith(_OTHER_PROGRAMS_START)):
        return "recycle bins and other programs' folders"
    if name.startswith(".") and not hidden:
        return "hidden"
    for each in reversed(rules):
        verdict = each.verdict(path, is_folder=is_folder)
        if verdict is not None:
            return "left out by a rule" if verdict else None
    return "left out by a rule" if any(fnmatch.fnmatch(os.fspath(path), pattern) for pattern in absolute) else None
