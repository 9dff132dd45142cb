"""Bring a store up to date with folders: what is new or changed is embedded, what is gone is taken out.

A file is known by its path, and unchanged while size and time are; only else is it read. What has the same bytes as a
file that is known is not embedded again: moved and copied files cost a look. Rows are written in small batches, never
half a file: a run that is killed leaves whole files, and the next one goes on.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from babelclip.encodes import Encodes, StreamItem
from babelclip.errors import InputError
from babelclip.prepare.ahead import prepare_ahead
from babelclip.prepare.open_image import ImageSource
from babelclip.search.drives import drives_away, note_drives
from babelclip.search.filters import Metadata, Scalar
from babelclip.search.index_notes import read_note
from babelclip.search.known_files import KnownFiles, is_below, row_id
from babelclip.search.optional_formats import missing_extra
from babelclip.search.read_file import FilePart, Loaded, by_bytes, file_facts, format_of_file, load_file
from babelclip.search.store import Database, Row, VectorStore
from babelclip.search.walk import FoundFile, PassedOver, UnreadablePath, Wanted, path_id, path_text, walk

FAILURES = "failures"
"""The note of files that failed."""
BATCH_ROWS, BATCH_SECONDS = 256, 3.0
"""Rows are written when there are so many, or after so long."""
READERS, AHEAD = 2, 8
"""Threads that read files, and files that are read ahead of the model."""

Progress = Callable[[int, int], None]
"""Called with how many files are done, and of how many, whenever rows have been written."""


def without_progress(done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that is not in the index, and why.

    It is tried again when it changes; one without a size could not even be read, and is tried at every run.
    """

    path: str
    reason: str
    size: int = -1
    mtime_ns: int = -1


@dataclass(slots=True)
class Report:
    """What a run did, in files."""

    unchanged: int = 0
    embedded: int = 0
    known_by_content: int = 0  # moved, copied or touched
    removed: int = 0
    failures: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)  # embedded as far as they can be read
    missing_extras: Counter[str] = field(default_factory=Counter)  # extra -> files that need it
    passed_over: Counter[str] = field(default_factory=Counter)  # kind of file or folder -> how many were not looked at
    seconds: float = 0.0

    @property
    def indexed(self) -> int:
        """Files that are in the index now."""
        return self.unchanged + self.embedded + self.known_by_content


def bring_up_to_date(
    database: Database,
    store: VectorStore,
    encoder: Encodes,
    folders: Mapping[Path, Wanted],
    elsewhere: Iterable[Path] = (),
    progress: Progress = without_progress,
    leave: Iterable[Path] = (),
) -> Report:
    """Embed what is new in folders, and take out what is gone from them.

    Args:
        elsewhere: other indexed folders, which may lie inside these: what is below them is left to them.
        leave: files that are not looked at; what is known of them stays.
    """
    start = time.perf_counter()
    failed_before = read_failures(database)
    run = _Run(store, KnownFiles.of(store), Report(), progress)
    run.leave(leave)
    away = drives_away(database, folders)
    todo = run.compare(folders, failed_before, away)
    try:
        run.embed(encoder, "image", [file for file in todo if file.kind != "text"])
        run.embed(encoder, "text", [file for file in todo if file.kind == "text"])
    finally:
        run.write()
    run.remove_gone(folders, elsewhere)
    run.report.seconds = time.perf_counter() - start
    keep = {failure.path: failure for failure in run.report.failures}
    roots = [path_text(root) for root in folders]
    others = {path: each for path, each in failed_before.items() if not any(is_below(path, root) for root in roots)}
    _write_failures(database, {**others, **keep})
    note_drives(database, folders, away)
    return run.report


def read_failures(database: Database) -> dict[str, Failure]:
    """Files that failed, by path."""
    row = tuple[str, str, int | None, int | None]
    return {each[0]: Failure(*each) for each in read_note(database.notes(), FAILURES, tuple[row, ...], ())}


def _write_failures(database: Database, failures: Mapping[str, Failure]) -> None:
    """Remember files that failed."""
    listed = [[each.path, each.reason, each.size, each.mtime_ns] for each in failures.values()]
    database.note({FAILURES: json.dumps(listed)})


class _Run:
    """One run: what is known, what waits to be written, what is told at its end."""

    def __init__(self, store: VectorStore, known: KnownFiles, report: Report, progress: Progress) -> None:
        self.report = report
        self._store, self._known, self._progress = store, known, progress
        self._seen: set[str] = set()
        self._not_looked_at: list[str] = []  # folders: what is known of them stays
        self._rows: list[Row] = []
        self._surplus: list[str] = []
        self._written = time.perf_counter()
        self._total = self._done = 0

    def leave(self, files: Iterable[Path]) -> None:
        """Take files for seen: they are neither read nor gone."""
        self._seen |= {path_id(path) for path in files}

    def compare(
        self, folders: Mapping[Path, Wanted], failed: Mapping[str, Failure], away: Container[Path]
    ) -> list[FoundFile]:
        """Files that have to be read."""
        todo = []
        for root, wanted in folders.items():
            for found in [UnreadablePath(root, "its drive is not there")] if root in away else walk(root, wanted):
                if isinstance(found, UnreadablePath):
                    self.report.failures.append(Failure(path_text(found.path), found.reason))
                    self._not_looked_at.append(path_text(found.path))
                elif isinstance(found, PassedOver):
                    self.report.passed_over[found.what] += 1
                elif path_id(found.path) not in self._seen:
                    self._seen.add(path_id(found.path))
                    todo += self._to_read(found, failed)
        self._total = len(todo)
        return todo

    def _to_read(self, found: FoundFile, failed: Mapping[str, Failure]) -> list[FoundFile]:
        before = failed.get(path_text(found.path))
        if before is not None and (before.size, before.mtime_ns) == (found.size, found.mtime_ns):
            self.report.failures.append(before)
            return []
        if self._known.has_unchanged(found):
            self.report.unchanged += 1
            return []
        found = by_bytes(found)
        extra = missing_extra(format_of_file(found.path)) if found.kind != "text" else None
        if extra is not None:
            self.report.missing_extras[extra] += 1
            return []
        return [found]

    def embed(self, encoder: Encodes, kind: Literal["image", "text"], files: Sequence[FoundFile]) -> None:
        """Embed the parts of files; the rows of a file wait together to be written."""
        waiting: deque[tuple[Loaded, FilePart]] = deque()
        gathered: list[tuple[FilePart, StreamItem]] = []
        for item in encoder.stream(self._sources(files, waiting), kind=kind, dim=self._store.dim):
            loaded, part = waiting.popleft()
            gathered.append((part, item))
            if len(gathered) == len(loaded.parts):
                self._finished(loaded, gathered)
                gathered = []

    def _sources(
        self, files: Sequence[FoundFile], waiting: deque[tuple[Loaded, FilePart]]
    ) -> Iterator[ImageSource | str]:
        """What has to be embedded, while threads read on; what need not be is dealt with here."""
        load = partial(_load, self._known.digests)
        for loaded in prepare_ahead(load, files, workers=READERS, ahead=AHEAD):
            if isinstance(loaded, Exception):
                raise loaded
            if isinstance(loaded, Loaded) and not loaded.parts and not self._copied(loaded):
                loaded = _load({}, loaded.file)  # its double has gone in the meantime
            if isinstance(loaded, _Failed):
                self._failed(loaded.file, loaded.error)
                continue
            for part in loaded.parts:
                waiting.append((loaded, part))
                yield part.source

    def _finished(self, loaded: Loaded, gathered: list[tuple[FilePart, StreamItem]]) -> None:
        """Rows of the parts that could be embedded: a broken one never costs the others."""
        path = loaded.file.path
        good = [(part, item.vector) for part, item in gathered if item.vector is not None]
        errors = [item.error for _, item in gathered if item.error is not None]
        if not good:
            self._failed(loaded.file, errors[0])
            return
        damages = [loaded.damage, *(item.damage for _, item in gathered), *map(str, errors)]
        damage = next(filter(None, damages), None)
        told: dict[str, Scalar] = {} if damage is None else {"damaged": 1}
        rows = [
            Row(row_id(path, number), part.kind, vector, part.metadata | told | {"parts": len(good)})
            for number, (part, vector) in enumerate(good)
        ]
        if damage is not None:
            self.report.damaged.append(Failure(path_text(path), damage, loaded.file.size, loaded.file.mtime_ns))
        self.report.embedded += 1
        self._add(loaded.file, rows)

    def _copied(self, loaded: Loaded) -> bool:
        """Give a file whose bytes are known the same vectors, at its own place."""
        facts = file_facts(loaded.file)
        rows = [
            Row(row_id(loaded.file.path, number), row.kind, row.vector, _at_another_place(row.metadata, facts))
            for number, row in enumerate(self._known.rows_of(self._store, loaded.digest))
        ]
        if rows:
            self.report.known_by_content += 1
            self._add(loaded.file, rows)
        return bool(rows)

    def _failed(self, file: FoundFile, error: InputError) -> None:
        """A file that is broken now is found no longer by what it was before."""
        path, cause = path_text(file.path), error.__cause__
        unread = isinstance(cause, OSError) and cause.errno is not None  # else what it holds is wrong
        failure = Failure(path, str(error)) if unread else Failure(path, str(error), file.size, file.mtime_ns)
        self.report.failures.append(failure)
        self._add(file, [])

    def _add(self, file: FoundFile, rows: list[Row]) -> None:
        self._rows += rows
        self._surplus += self._known.surplus(file, len(rows))
        self._done += 1
        if len(self._rows) >= BATCH_ROWS or time.perf_counter() - self._written > BATCH_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what waits; only then is it told."""
        if self._rows:
            self._store.upsert(self._rows)
            self._known.written(self._rows)
        if self._surplus:
            self._store.delete(self._surplus)
        self._rows, self._surplus = [], []
        self._written = time.perf_counter()
        self._progress(self._done, self._total)

    def remove_gone(self, folders: Mapping[Path, Wanted], elsewhere: Iterable[Path]) -> None:
        """Take out files that are no longer there."""
        gone = list(self._known.gone(self._seen, folders, elsewhere, self._not_looked_at))
        for start in range(0, len(gone), BATCH_ROWS):
            self._store.delete([id for ids in gone[start : start + BATCH_ROWS] for id in ids])
        self.report.removed = len(gone)


@dataclass(frozen=True, slots=True)
class _Failed:
    file: FoundFile
    error: InputError


def _load(digests: Mapping[str, str], file: FoundFile) -> Loaded | _Failed:
    try:
        return load_file(file, digests)
    except InputError as error:
        return _Failed(file, error)


def _at_another_place(metadata: Metadata, facts: Mapping[str, Scalar]) -> Metadata:
    """Metadata of a file's double; the name's exact bytes are its own."""
    return {name: value for name, value in metadata.items() if name != "path_bytes"} | dict(facts)
