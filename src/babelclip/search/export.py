"""Write an index's rows and vectors to a file for other tools: JSON lines, numpy's ``.npy`` and ``.npz``, Parquet.

Rows pass one by one: no form holds more than some hundreds of them. A file takes its name when it is complete, so what
was stopped never looks whole. Each form tells the model, its fingerprint and the width, because vectors of two models
must not be mixed: JSON lines in every line, so that parts of the file tell it too; the others once.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from babelclip.arrays import Vectors
from babelclip.atomic_write import atomic_path
from babelclip.errors import ConfigError
from babelclip.optional_dependency import is_installed, missing_package
from babelclip.search.index_notes import ModelNote
from babelclip.search.store import Row

ROWS_AT_ONCE = 512
"""Rows of a Parquet row group, and between two writes of texts."""
FORMAT = 1
"""Of what is told beside the rows."""


class Sink(Protocol):
    """Takes rows."""

    def add(self, row: Row) -> None:
        """Write a row."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


def facts_of(note: ModelNote) -> dict[str, str | int]:
    """What a file tells of its vectors."""
    return {
        "babelclip_export": FORMAT,
        "model": note.model,
        "fingerprint": note.fingerprint,
        "dim": note.dim,
        "orientation": note.orientation,
    }


def shown(row: Row) -> dict[str, Any]:
    """A row without its vector."""
    return {"id": row.id, "path": _path(row), "kind": row.kind, "metadata": _metadata(row)}


class JsonLines:
    """A line a row: ``id``, ``path``, ``kind``, ``metadata``, ``model``, ``fingerprint``, ``dim``, ``vector``."""

    def __init__(self, file: IO[str], note: ModelNote) -> None:
        self._file = file
        self._told = {"model": note.model, "fingerprint": note.fingerprint, "dim": note.dim}
        self._numbers = ", ".join(["%.9g"] * note.dim)  # nine digits read back to the same float32

    def add(self, row: Row) -> None:
        head = json.dumps(shown(row) | self._told, ensure_ascii=False).removesuffix("}")
        self._file.write(f'{head}, "vector": [{self._numbers % tuple(row.vector.tolist())}]}}\n')

    def finish(self) -> None:
        self._file.flush()


class Matrix:
    """``.npy``: the vectors (N, E) alone. Beside it, with ``.jsonl`` after its name: a line on the model, one a row."""

    def __init__(self, file: IO[bytes], beside: IO[str], note: ModelNote) -> None:
        self._vectors = _Vectors(file, note.dim)
        self._beside = beside
        beside.write(json.dumps(facts_of(note)) + "\n")

    def add(self, row: Row) -> None:
        self._vectors.add(row.vector)
        self._beside.write(json.dumps(shown(row), ensure_ascii=False) + "\n")

    def finish(self) -> None:
        self._vectors.finish()
        self._beside.flush()


class Arrays:
    """``.npz``: ``vectors`` (N, E); ``id``, ``path``, ``kind``, ``metadata`` (JSON), texts (N,); ``about`` (JSON)."""

    def __init__(self, file: IO[bytes], note: ModelNote, scratch: Callable[[], IO[bytes]]) -> None:
        self._file, self._note = file, note
        self._matrix = scratch()
        self._vectors = _Vectors(self._matrix, note.dim)
        self._texts = {name: _Texts(scratch()) for name in ("id", "path", "kind", "metadata")}

    def add(self, row: Row) -> None:
        self._vectors.add(row.vector)
        texts = shown(row)
        texts["metadata"] = json.dumps(texts["metadata"], ensure_ascii=False)
        for name, column in self._texts.items():
            column.add(texts[name])

    def finish(self) -> None:
        self._vectors.finish()
        about = io.BytesIO()
        np.save(about, np.array(json.dumps(facts_of(self._note))))
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("about.npy", about.getvalue())
            for name, column in self._texts.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    column.write_array(entry)
            stored = zipfile.ZipInfo("vectors.npy")  # numbers hardly get smaller
            with archive.open(stored, "w", force_zip64=True) as entry:
                self._matrix.seek(0)
                shutil.copyfileobj(self._matrix, entry)


class Parquet:
    """``.parquet``: ``id``, ``path``, ``kind``, ``metadata`` (JSON), ``vector`` (E float32); the model beside."""

    def __init__(self, file: IO[bytes], note: ModelNote) -> None:
        import pyarrow
        import pyarrow.parquet

        self._arrow = pyarrow
        texts = [(name, pyarrow.string()) for name in ("id", "path", "kind", "metadata")]
        told = {f"babelclip.{name}": str(value) for name, value in facts_of(note).items()}
        self._schema = pyarrow.schema([*texts, ("vector", pyarrow.list_(pyarrow.float32(), note.dim))], metadata=told)
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema)
        self._held: list[Row] = []

    def add(self, row: Row) -> None:
        self._held.append(row)
        if len(self._held) == ROWS_AT_ONCE:
            self._write()

    def finish(self) -> None:
        if self._held:
            self._write()
        self.close()

    def close(self) -> None:
        """Let go of the file, also of one that is not complete."""
        self._writer.close()

    def _write(self) -> None:
        numbers = self._arrow.array(np.concatenate([row.vector for row in self._held]))
        vectors = self._arrow.FixedSizeListArray.from_arrays(numbers, self._schema.field("vector").type.list_size)
        rows = [shown(row) for row in self._held]
        columns = [[row[name] for row in rows] for name in ("id", "path", "kind")]
        columns.append([json.dumps(row["metadata"], ensure_ascii=False) for row in rows])
        self._writer.write_table(self._arrow.table([*columns, vectors], schema=self._schema))
        self._held.clear()


class _Vectors:
    """A ``.npy`` file that is written row by row; how many there are is put into its head at the end."""

    def __init__(self, file: IO[bytes], dim: int) -> None:
        self._file, self._dim, self._count = file, dim, 0
        self._write_head()

    def _write_head(self) -> None:
        # numpy leaves room in the head for the count to grow, so its length is the same at the end.
        head = {"descr": "<f4", "fortran_order": False, "shape": (self._count, self._dim)}
        np.lib.format.write_array_header_1_0(self._file, head)

    def add(self, vector: Vectors) -> None:
        self._file.write(vector.astype("<f4").tobytes())
        self._count += 1

    def finish(self) -> None:
        self._file.seek(0)
        self._write_head()
        self._file.flush()


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


SUFFIXES = (".jsonl", ".npz", ".npy", ".parquet")
"""Endings of files, each a form."""


def check_export(path: Path) -> None:
    """Refuse what cannot be written before any work is done.

    Raises:
        ConfigError: another ending or a folder that is not there.
        RuntimeUnavailable: pyarrow is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: the ending says the form; known are {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.absolute().parent}")
    if path.suffix.lower() == ".parquet" and not is_installed("pyarrow"):
        raise missing_package("writing .parquet", "pyarrow", "parquet")


def export_rows(rows: Iterable[Row], note: ModelNote, path: Path, each: Callable[[], object] = lambda: None) -> int:
    """Write rows to a file whose ending says the form: how many.

    Args:
        path: of the file, or - for stdout.
        rows: to write.
        note: the model of their vectors.
        each: called after each row.

    Raises:
        ConfigError: as ``check_export``.
        RuntimeUnavailable: as ``check_export``.
        OSError: the disk is full.
    """
    check_export(path)
    with _open_sink(path, note) as sink:
        return write_rows(rows, sink, each)


def write_rows(rows: Iterable[Row], sink: Sink, each: Callable[[], object] = lambda: None) -> int:
    """Give all rows to a sink; returns how many."""
    count = 0
    for row in rows:
        sink.add(row)
        each()
        count += 1
    sink.finish()
    return count


@contextmanager
def _open_sink(path: Path, note: ModelNote) -> Iterator[Sink]:
    """The form of a name; the file, and what belongs beside it, take their names only when all went well."""
    suffix, folder = path.suffix.lower(), path.absolute().parent
    with atomic_path(path) as whole:
        if suffix == ".jsonl":
            with whole.open("w", encoding="utf-8") as lines:
                yield JsonLines(lines, note)
        elif suffix == ".npz":
            with whole.open("wb") as file, ExitStack() as files:
                yield Arrays(file, note, lambda: files.enter_context(tempfile.TemporaryFile(dir=folder)))
        elif suffix == ".npy":
            with atomic_path(path.with_name(f"{path.name}.jsonl")) as beside:
                with whole.open("w+b") as matrix, beside.open("w", encoding="utf-8") as lines:
                    yield Matrix(matrix, lines, note)
                path.unlink(missing_ok=True)  # an old matrix beside new rows would look whole
        else:
            with whole.open("wb") as file, closing(Parquet(file, note)) as sink:
                yield sink


def _path(row: Row) -> str:
    return str(row.metadata.get("path", ""))


def _metadata(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.metadata.items() if name != "path"}
