"""Where vectors go: JSON lines, ``.npy``, ``.npz`` or ``.parquet``, by the suffix of the file.

A file appears under its name only when it is complete. What happens to items that failed:

- ``.jsonl``, ``.npz`` and ``.parquet`` hold the good items, each with its ``index`` in the input;
- ``.npy`` is a bare matrix, so its rows must stay in place: a failed item is a row of NaN, or of zeros in the integer
  types, where no real vector is all zero.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_write import atomic_path
from babelclip.cli.items import Item
from babelclip.errors import ConfigError
from babelclip.optional_dependency import needed_for

ROWS_AT_ONCE = 1024  # rows of a parquet row group


class Sink(Protocol):
    """Takes items in order."""

    def add(self, item: Item, vector: NDArray[Any]) -> None:
        """Write one vector."""
        ...

    def add_failed(self, item: Item) -> None:
        """Note that an item has no vector."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


def json_row(item: Item, vector: NDArray[Any]) -> str:
    """One result as a line of JSON; floats in the shortest form that reads back to the same float32."""
    row: dict[str, Any] = {"index": item.index, "kind": item.kind, "input": item.shown}
    if item.id is not None:
        row["id"] = item.id
    numbers = [float(text) for text in vector.astype(np.str_)] if vector.dtype == np.float32 else vector.tolist()
    return json.dumps(row | {"vector": numbers}, ensure_ascii=False)


class JsonLines:
    """A line per good item, as soon as it is there."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, item: Item, vector: NDArray[Any]) -> None:
        self._file.write(json_row(item, vector) + "\n")

    def add_failed(self, item: Item) -> None:
        pass  # the indices of the other lines show the gap

    def finish(self) -> None:
        self._file.flush()


class Matrix:
    """A bare ``.npy``: one row per item, failed ones included."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows: list[NDArray[Any] | None] = []

    def add(self, item: Item, vector: NDArray[Any]) -> None:
        self._rows.append(vector)

    def add_failed(self, item: Item) -> None:
        self._rows.append(None)

    def finish(self) -> None:
        like = next((row for row in self._rows if row is not None), np.zeros(0, np.float32))
        gap = np.full_like(like, np.nan if like.dtype.kind == "f" else 0)
        rows = [gap if row is None else row for row in self._rows]
        np.save(self._file, np.stack(rows) if rows else np.zeros((0, 0), np.float32))


class Arrays:
    """``.npz`` with ``vectors``, ``index``, ``kind`` and ``input`` of the good items."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._items: list[Item] = []
        self._rows: list[NDArray[Any]] = []

    def add(self, item: Item, vector: NDArray[Any]) -> None:
        self._items.append(item)
        self._rows.append(vector)

    def add_failed(self, item: Item) -> None:
        pass  # ``index`` shows the gap

    def finish(self) -> None:
        np.savez(
            self._file,
            vectors=np.stack(self._rows) if self._rows else np.zeros((0, 0), np.float32),
            index=np.array([item.index for item in self._items], np.int64),
            kind=np.array([item.kind for item in self._items], np.str_),
            input=np.array([item.shown for item in self._items], np.str_),
        )


class Parquet:
    """Columns ``index``, ``kind``, ``input``, ``id`` and ``vector`` (a fixed-size list); written in row groups."""

    def __init__(self, file: IO[bytes]) -> None:
        with needed_for("writing .parquet", "parquet"):
            import pyarrow
            import pyarrow.parquet
        self._arrow, self._parquet = pyarrow, pyarrow.parquet
        self._file = file
        self._writer: Any = None
        self._held: list[tuple[Item, NDArray[Any]]] = []

    def add(self, item: Item, vector: NDArray[Any]) -> None:
        self._held.append((item, vector))
        if len(self._held) == ROWS_AT_ONCE:
            self._write()

    def add_failed(self, item: Item) -> None:
        pass  # ``index`` shows the gap

    def finish(self) -> None:
        if self._held or self._writer is None:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        arrow = self._arrow
        matrix = np.stack([vector for _, vector in self._held]) if self._held else np.zeros((0, 1), np.float32)
        items = [item for item, _ in self._held]
        flat = arrow.array(np.ascontiguousarray(matrix).reshape(-1))
        ids = [None if item.id is None else str(item.id) for item in items]
        table = arrow.table(
            {
                "index": arrow.array([item.index for item in items], arrow.int64()),
                "kind": arrow.array([item.kind for item in items], arrow.string()),
                "input": arrow.array([item.shown for item in items], arrow.string()),
                "id": arrow.array(ids, arrow.string()),
                "vector": arrow.FixedSizeListArray.from_arrays(flat, matrix.shape[1]),
            }
        )
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)
        self._held.clear()


BINARY_SINKS: dict[str, Callable[[IO[bytes]], Sink]] = {".npy": Matrix, ".npz": Arrays, ".parquet": Parquet}


def check_suffix(path: Path | None) -> None:
    """Refuse an unknown suffix before any work is done.

    Raises: ConfigError naming the known ones.
    """
    known = [".jsonl", *BINARY_SINKS]
    if path is not None and path.suffix.lower() not in known:
        raise ConfigError(f"--out {path}: the suffix says the format; known are {', '.join(known)}")


@contextmanager
def open_sink(path: Path | None) -> Iterator[Sink]:
    """The sink for a file name, or JSON lines on stdout; the file takes its name only when all went well."""
    check_suffix(path)
    if path is None:
        sink: Sink = JsonLines(sys.stdout)
        yield sink
        sink.finish()
        return
    if path.suffix.lower() == ".jsonl":
        with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8") as text_file:
            sink = JsonLines(text_file)
            yield sink
            sink.finish()
    else:
        with atomic_path(path) as unfinished, unfinished.open("wb") as file:
            sink = BINARY_SINKS[path.suffix.lower()](file)
            yield sink
            sink.finish()
