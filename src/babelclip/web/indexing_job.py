"""Photos that are indexed while the page answers already, and how far that is.

A file of its own, because the command starts the job and the routes tell its progress.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import BabelclipError
from babelclip.search.index import Index


@dataclass(frozen=True, slots=True)
class IndexingProgress:
    """Files that are done, and of how many; of 0 while folders are looked through."""

    done: int = 0
    total: int = 0


class IndexingJob:
    """One run over folders, in a thread of its own; other threads ask for its progress."""

    def __init__(self, index: Index, folders: Sequence[Path], on_end: Callable[[str], None]) -> None:
        """Nothing runs before ``run``.

        Args:
            index: what is filled.
            folders: what is indexed.
            on_end: called with a line that says what came of it.
        """
        self._index, self._folders, self._on_end = index, folders, on_end
        self.progress: IndexingProgress | None = IndexingProgress()  # None: it has ended

    def run(self) -> None:
        """Index the folders."""
        try:
            report = self._index.add(self._folders, progress=self._count)
            result = f"{report.indexed:,} files indexed, {len(report.failures):,} failed"
        except BabelclipError as error:
            result = str(error)
        finally:
            self.progress = None
        self._on_end(result)

    def _count(self, done: int, total: int) -> None:
        self.progress = IndexingProgress(done, total)
