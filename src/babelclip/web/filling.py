"""Photos that are indexed while the page answers already: how far that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import BabelclipError
from babelclip.search.index import Index


@dataclass(frozen=True, slots=True)
class Share:
    """Files that are done, and of how many; of 0 while folders are looked through."""

    done: int = 0
    total: int = 0


class Filling:
    """One run over folders, in a thread of its own; other threads ask for its share."""

    def __init__(self, index: Index, photos: Sequence[Path], told: Callable[[str], None]) -> None:
        """Nothing runs before ``start``.

        Args:
            told: called with a line when it has ended.
        """
        self._index, self._photos, self._told = index, photos, told
        self.share: Share | None = Share()  # None: it has ended

    def run(self) -> None:
        """Index the folders."""
        try:
            report = self._index.add(self._photos, progress=self._count)
            told = f"{report.indexed:,} files indexed, {len(report.failures):,} failed"
        except BabelclipError as error:
            told = str(error)
        finally:
            self.share = None
        self._told(told)

    def _count(self, done: int, total: int) -> None:
        self.share = Share(done, total)
