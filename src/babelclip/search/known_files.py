"""Files that a store holds, as far as it takes to see what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from babelclip.search.store import Known, Row, VectorStore
from babelclip.search.walk import FoundFile, path_id, path_text


def row_id(path: Path, part: int) -> str:
    """The id of a part of a file."""
    return part_id(path_id(path), part)


def part_id(file_id: str, part: int) -> str:
    """The id of a part of the file of an id: the first part has the file's own."""
    return file_id if part == 0 else f"{file_id}-{part}"


def is_below(path: str, root: str) -> bool:
    """Whether a file is this one, or lies below this folder; both as ``path_text`` writes them."""
    return path == root or path.startswith(root.rstrip("/") + "/")


@dataclass(slots=True)
class KnownFile:
    """What the rows of a file say of it."""

    path: str
    size: int
    mtime_ns: int
    digest: str
    parts: int  # that it has
    found: int = 0  # rows that are there
    highest: int = 0  # part among them
    mixed: bool = False  # whether its rows are of different versions of it: a writer was killed between them

    @property
    def whole(self) -> bool:
        """Whether all of its rows are there, and no others."""
        return self.found == self.parts == self.highest + 1 and not self.mixed


@dataclass(slots=True)
class KnownFiles:
    """Files by id, and by the digest of their bytes."""

    files: dict[str, KnownFile] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # of whole files -> id of one

    @classmethod
    def of(cls, store: VectorStore) -> KnownFiles:
        """What a store holds."""
        known = cls()
        for row in store.known():
            known._count(row)
        known.digests = {file.digest: id for id, file in known.files.items() if file.whole}
        return known

    def _count(self, row: Known | Row) -> None:
        id, _, number = row.id.partition("-")
        part = int(number or 0)
        facts = row.metadata
        size, mtime_ns, parts = (int(facts.get(name, -1)) for name in ("size", "mtime_ns", "parts"))
        row_of = KnownFile(str(facts.get("path", "")), size, mtime_ns, str(facts.get("digest", "")), parts)
        file = self.files.setdefault(id, row_of)
        file.mixed |= (file.size, file.mtime_ns, file.digest) != (size, mtime_ns, row_of.digest)
        file.found += 1
        file.highest = max(file.highest, part)

    def has_unchanged(self, found: FoundFile) -> bool:
        """Whether a file is here as it is on the disk, by size and time."""
        file = self.files.get(path_id(found.path))
        return file is not None and file.whole and (file.size, file.mtime_ns) == (found.size, found.mtime_ns)

    def written(self, rows: Iterable[Row]) -> None:
        """Rows, all of their files, have been written."""
        ids = set()
        for row in rows:
            id = row.id.partition("-")[0]
            if id not in ids:
                self.files.pop(id, None)
                ids.add(id)
            self._count(row)
        self.digests |= {self.files[id].digest: id for id in ids}

    def surplus(self, found: FoundFile, parts: int) -> list[str]:
        """Ids of rows that a file has no longer when it has ``parts``."""
        id = path_id(found.path)
        file = self.files.get(id)
        return [] if file is None else [part_id(id, number) for number in range(parts, file.highest + 1)]

    def rows_of(self, store: VectorStore, digest: str) -> list[Row]:
        """The rows of a whole file of these bytes; none where it has gone in the meantime."""
        id = self.digests.get(digest)
        if id is None:
            return []
        rows = store.get([part_id(id, number) for number in range(self.files[id].parts)])
        return [row for row in rows if row is not None] if all(row is not None for row in rows) else []

    def gone(
        self, seen: set[str], roots: Mapping[Path, object], elsewhere: Iterable[Path], unseen: Iterable[str]
    ) -> Iterator[list[str]]:
        """Row ids of each file below ``roots`` that was not seen.

        Not of those below other indexed folders, or below folders that could not be looked at.
        """
        inside = [path_text(root) for root in roots]
        left = [path_text(root) for root in elsewhere if root not in roots] + list(unseen)
        for id, file in self.files.items():
            if id in seen or not any(is_below(file.path, root) for root in inside):
                continue
            # Of folders inside each other, the innermost is the one that a file belongs to.
            owner = max((root for root in inside + left if is_below(file.path, root)), key=len)
            if owner in inside and owner not in left:
                yield [part_id(id, number) for number in range(file.highest + 1)]
