"""Tables with a vector in every row, written for other tools: JSON lines, numpy's ``.npy`` and ``.npz``, Parquet.

Rows pass one by one: no form holds more than some hundreds of them. A file takes its name when it is complete, so what
was stopped never looks whole. ``.npy`` is a bare matrix, whose rows stay in place: a row without a vector is NaN there,
or zeros in the integer types, where no real vector is all zero; the other forms leave it out.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_write import atomic_path
from babelclip.errors import ConfigError
from babelclip.optional_dependency import is_installed, missing_package

SUFFIXES = (".jsonl", ".npz", ".npy", ".parquet")
"""Of files, each a form."""
ROWS_AT_ONCE = 512
"""Rows of a Parquet row group."""

Vector = NDArray[Any]
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """What stands beside the vectors under one name."""

    name: str
    kind: Literal["text", "integer", "json"] = "text"  # json: data in JSON lines, its text in the other forms
    optional: bool = False  # rows may lack it; arrays of numpy cannot, and leave it out


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds besides the vectors."""

    columns: tuple[Column, ...]
    about: Mapping[str, str | int] = field(default_factory=dict)  # told once; in a file beside ``.npy``
    dim: int | None = None  # width of the vectors; None: that of the first
    in_every_line: _Row = field(default_factory=dict)  # told in each JSON line, so that parts of the file tell it too

    def texts(self, row: _Row) -> dict[str, Any]:
        """A row for forms whose cells are texts and numbers."""
        return {each.name: _cell(each, row.get(each.name)) for each in self.columns}


class Writer(Protocol):
    """Takes rows in order."""

    def add(self, row: _Row, vector: Vector) -> None:
        """Write a row."""
        ...

    def add_gap(self) -> None:
        """A row has no vector."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


class LinesWriter:
    """A line a row, as soon as it is there; floats in the shortest form that reads back to the same float32."""

    def __init__(self, file: IO[str], table: Table) -> None:
        self._file, self._table = file, table
        # Where the width is known, many rows come: nine digits read back to the same too, and are quick to write.
        self._pattern = None if table.dim is None else ", ".join(["%.9g"] * table.dim)

    def add(self, row: _Row, vector: Vector) -> None:
        head = json.dumps({**row, **self._table.in_every_line}, ensure_ascii=False).removesuffix("}")
        self._file.write(f'{head}, "vector": [{self._numbers(vector)}]}}\n')

    def _numbers(self, vector: Vector) -> str:
        if self._pattern is not None:
            return self._pattern % tuple(vector.tolist())
        numbers = [float(text) for text in vector.astype(np.str_)] if vector.dtype == np.float32 else vector.tolist()
        return json.dumps(numbers)[1:-1]

    def add_gap(self) -> None:
        """The other lines show it."""

    def finish(self) -> None:
        self._file.flush()


class MatrixWriter:
    """``.npy``: the vectors (N, E) alone. Beside it, where there is much to tell: a line on that, then one a row."""

    def __init__(self, file: IO[bytes], beside: IO[str] | None, table: Table) -> None:
        self._vectors, self._beside = _Vectors(file, table.dim), beside
        if beside is not None:
            beside.write(json.dumps(table.about) + "\n")

    def add(self, row: _Row, vector: Vector) -> None:
        self._vectors.add(vector)
        if self._beside is not None:
            self._beside.write(json.dumps(row, ensure_ascii=False) + "\n")

    def add_gap(self) -> None:
        self._vectors.add_gap()

    def finish(self) -> None:
        self._vectors.finish()
        if self._beside is not None:
            self._beside.flush()


class ArraysWriter:
    """``.npz``: ``vectors`` (N, E), an array (N,) of each column, and what is told once as JSON in ``about``."""

    def __init__(self, file: IO[bytes], scratch: Callable[[], IO[bytes]], table: Table) -> None:
        self._file, self._table, self._matrix = file, table, scratch()
        self._vectors = _Vectors(self._matrix, table.dim)
        self._cells = {
            each.name: _Integers(scratch()) if each.kind == "integer" else _Texts(scratch())
            for each in table.columns
            if not each.optional
        }

    def add(self, row: _Row, vector: Vector) -> None:
        self._vectors.add(vector)
        texts = self._table.texts(row)
        for name, column in self._cells.items():
            column.add(texts[name])

    def add_gap(self) -> None:
        """The columns show it."""

    def finish(self) -> None:
        self._vectors.finish()
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            if self._table.about:
                about = io.BytesIO()
                np.save(about, np.array(json.dumps(self._table.about)))
                archive.writestr("about.npy", about.getvalue())
            for name, column in self._cells.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    column.write_array(entry)
            stored = zipfile.ZipInfo("vectors.npy")  # numbers hardly get smaller
            with archive.open(stored, "w", force_zip64=True) as entry:
                self._matrix.seek(0)
                shutil.copyfileobj(self._matrix, entry)


class ParquetWriter:
    """``.parquet``: the columns, and ``vector``, a list of fixed size; what is told once in the schema's metadata."""

    def __init__(self, file: IO[bytes], table: Table) -> None:
        import pyarrow
        import pyarrow.parquet

        self._arrow, self._file, self._table = pyarrow, file, table
        self._writer: Any = None
        self._held: list[tuple[_Row, Vector]] = []

    def add(self, row: _Row, vector: Vector) -> None:
        self._held.append((self._table.texts(row), vector))
        if len(self._held) == ROWS_AT_ONCE:
            self._write()

    def add_gap(self) -> None:
        """The columns show it."""

    def finish(self) -> None:
        if self._held or self._writer is None:
            self._write()
        self.close()

    def close(self) -> None:
        """Let go of the file, also of one that is not complete."""
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        nothing = np.zeros((0, self._table.dim or 1), np.float32)
        matrix = np.stack([vector for _, vector in self._held]) if self._held else nothing
        numbers = self._arrow.array(np.ascontiguousarray(matrix).reshape(-1))
        cells = [
            self._arrow.array(
                [row[each.name] for row, _ in self._held],
                self._arrow.int64() if each.kind == "integer" else self._arrow.string(),
            )
            for each in self._table.columns
        ]
        vectors = self._arrow.FixedSizeListArray.from_arrays(numbers, matrix.shape[1])
        names = [*(each.name for each in self._table.columns), "vector"]
        told = {f"babelclip.{name}": str(value) for name, value in self._table.about.items()}
        rows = self._arrow.table([*cells, vectors], names=names, metadata=told or None)
        if self._writer is None:
            self._writer = self._arrow.parquet.ParquetWriter(self._file, rows.schema)
        self._writer.write_table(rows)
        self._held.clear()


class _Vectors:
    """A ``.npy`` file that is written row by row; how many there are is put into its head at the end."""

    def __init__(self, file: IO[bytes], dim: int | None) -> None:
        self._file, self._count = file, 0
        self._like = None if dim is None else np.zeros(dim, np.float32)
        if self._like is not None:
            self._write_head(self._like)

    def _write_head(self, like: Vector) -> None:
        # numpy leaves room in the head for the count to grow, so its length is the same at the end.
        shape = (self._count, len(like))
        head = {"descr": np.lib.format.dtype_to_descr(like.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, head)

    def add(self, vector: Vector) -> None:
        if self._like is None:
            self._like = vector
            self._write_head(vector)
            self._file.write(self._count * self._gap(vector))  # those that came before the width was known
        self._file.write(vector.tobytes())
        self._count += 1

    def add_gap(self) -> None:
        if self._like is not None:
            self._file.write(self._gap(self._like))
        self._count += 1

    def _gap(self, like: Vector) -> bytes:
        return np.full_like(like, np.nan if like.dtype.kind == "f" else 0).tobytes()

    def finish(self) -> None:
        self._file.seek(0)
        self._write_head(np.zeros(0, np.float32) if self._like is None else self._like)
        self._file.flush()


class _Integers:
    """Whole numbers of 64 bits."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._count = file, 0

    def add(self, value: int) -> None:
        self._file.write(value.to_bytes(8, "little", signed=True))
        self._count += 1

    def write_array(self, out: IO[bytes]) -> None:
        head = {"descr": "<i8", "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(out, head)
        self._file.seek(0)
        shutil.copyfileobj(self._file, out)


class _Texts:
    """Texts that become an array of numpy's fixed width once the longest is known."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._count, self._longest = 0, 1

    def add(self, text: str) -> None:
        encoded = text.encode()
        self._file.write(len(encoded).to_bytes(4, "little") + encoded)
        self._count, self._longest = self._count + 1, max(self._longest, len(text))

    def write_array(self, out: IO[bytes]) -> None:
        head = {"descr": f"<U{self._longest}", "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(out, head)
        self._file.seek(0)
        for _ in range(self._count):
            length = int.from_bytes(self._file.read(4), "little")
            out.write(self._file.read(length).decode().encode("utf-32-le").ljust(4 * self._longest, b"\0"))


def _cell(column: Column, value: Any) -> Any:
    if value is None or column.kind == "integer":
        return value
    return json.dumps(value, ensure_ascii=False) if column.kind == "json" else str(value)


def check_table_file(path: Path) -> None:
    """Refuse what cannot be written before any work is done.

    Raises:
        ConfigError: another suffix, or a folder that is not there.
        RuntimeUnavailable: pyarrow is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: the suffix says the form; known are {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.absolute().parent}")
    if path.suffix.lower() == ".parquet" and not is_installed("pyarrow"):
        raise missing_package("writing .parquet", "pyarrow", "parquet")


@contextmanager
def open_table(path: Path, table: Table) -> Iterator[Writer]:
    """The form of a suffix; the file, and what belongs beside it, take their names only when all went well.

    Raises:
        ConfigError: as ``check_table_file``.
        RuntimeUnavailable: as ``check_table_file``.
        OSError: the disk is full.
    """
    check_table_file(path)
    suffix, folder = path.suffix.lower(), path.absolute().parent
    with atomic_path(path) as whole:
        if suffix == ".jsonl":
            with whole.open("w", encoding="utf-8") as lines:
                yield from _finished(LinesWriter(lines, table))
        elif suffix == ".npz":
            with whole.open("wb") as file, ExitStack() as files:
                scratch = lambda: files.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: E731
                yield from _finished(ArraysWriter(file, scratch, table))
        elif suffix == ".npy" and table.about:
            with atomic_path(path.with_name(f"{path.name}.jsonl")) as beside:
                with whole.open("w+b") as matrix, beside.open("w", encoding="utf-8") as lines:
                    yield from _finished(MatrixWriter(matrix, lines, table))
                path.unlink(missing_ok=True)  # an old matrix beside new rows would look whole
        elif suffix == ".npy":
            with whole.open("w+b") as matrix:
                yield from _finished(MatrixWriter(matrix, None, table))
        else:
            with whole.open("wb") as file, closing(ParquetWriter(file, table)) as writer:
                yield from _finished(writer)


def _finished(writer: Writer) -> Iterator[Writer]:
    yield writer
    writer.finish()
