"""An index's rows and vectors as a table for other tools.

Each form tells the model, its fingerprint and the width, because vectors of two models must not be mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from babelclip.search.index_notes import ModelNote
from babelclip.search.store import Row
from babelclip.vector_table import Column, LinesWriter, Table, Writer, open_table

_FORMAT = 1
"""Of what is told beside the rows."""
_COLUMNS = (Column("id"), Column("path"), Column("kind"), Column("metadata", "json"))


def table_of(note: ModelNote) -> Table:
    """The table of rows whose vectors a model made."""
    told: dict[str, str | int] = {"model": note.model, "fingerprint": note.fingerprint, "dim": note.dim}
    about = {"babelclip_export": _FORMAT, **told, "orientation": note.orientation}
    return Table(_COLUMNS, about, note.dim, in_every_line=told)


def export_rows(rows: Iterable[Row], note: ModelNote, path: Path, each: Callable[[], object] = lambda: None) -> int:
    """Write rows to a file whose suffix says the form; returns how many.

    Args:
        rows: to write.
        note: the model of their vectors.
        path: of the file.
        each: called after each row.

    Raises:
        ConfigError: another suffix, or a folder that is not there.
        RuntimeUnavailable: pyarrow is missing.
        OSError: the disk is full.
    """
    with open_table(path, table_of(note)) as table:
        return _add_all(rows, table, each)


def print_rows(rows: Iterable[Row], note: ModelNote, file: IO[str], each: Callable[[], object] = lambda: None) -> int:
    """Write rows to a stream as JSON lines; returns how many."""
    lines = LinesWriter(file, table_of(note))
    count = _add_all(rows, lines, each)
    lines.finish()
    return count


def _add_all(rows: Iterable[Row], table: Writer, each: Callable[[], object]) -> int:
    count = 0
    for row in rows:
        table.add(_cells(row), row.vector)
        each()
        count += 1
    return count


def _cells(row: Row) -> dict[str, Any]:
    metadata = {name: value for name, value in row.metadata.items() if name != "path"}
    return {"id": row.id, "path": str(row.metadata.get("path", "")), "kind": row.kind, "metadata": metadata}
