"""Exported files, read as other tools read them: numpy, pyarrow, json."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from babelclip import vector_table
from babelclip.errors import ConfigError, RuntimeUnavailable
from babelclip.search.export import export_rows
from babelclip.search.index_notes import ModelNote
from babelclip.search.store import Row
from babelclip.vectors import finish

DIM = 24
NOTE = ModelNote("a-model", "0123abcd", DIM)
Read = Callable[[Path], tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]]


def make_rows(count: int) -> Iterator[Row]:
    """Rows as an index has them: 16-bit numbers, names in several scripts, metadata of every type."""
    generator = np.random.default_rng(0)
    for number in range(count):
        vector = finish(generator.normal(size=(1, DIM)).astype(np.float32))[0]
        metadata = {"path": f"/照片/{number}/🐕 {'x' * (number % 50)}.jpg", "size": number, "latitude": number / 3}
        if number % 2:
            metadata |= {"camera": 'a "quoted" one\n', "path_bytes": "2f"}
        yield Row(
            f"{number:032x}", "text" if number % 3 else "image", vector.astype(np.float16).astype(np.float32), metadata
        )


def read_jsonl(path: Path) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    vectors = np.array([line.pop("vector") for line in lines], np.float32).reshape(-1, DIM)
    told = [{name: line.pop(name) for name in ("model", "fingerprint", "dim")} for line in lines]
    assert all(each == told[0] for each in told)
    return lines, vectors, told[0] if told else {}


def read_npz(path: Path) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    with np.load(path) as arrays:  # no pickles
        columns = {name: arrays[name].tolist() for name in ("id", "path", "kind", "metadata")}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        about = json.loads(str(arrays["about"]))
        return [{**row, "metadata": json.loads(row["metadata"])} for row in rows], arrays["vectors"], about


def read_npy(path: Path) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    beside = path.with_name(path.name + ".jsonl").read_text(encoding="utf-8").splitlines()
    about, *rows = map(json.loads, beside)
    return rows, np.load(path, mmap_mode="r"), about


def read_parquet(path: Path) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    table = parquet.read_table(path)
    told = {key.decode().removeprefix("babelclip."): value.decode() for key, value in table.schema.metadata.items()}
    rows = table.to_pylist()
    vectors = np.array([row.pop("vector") for row in rows], np.float32).reshape(-1, DIM)
    return (
        [{**row, "metadata": json.loads(row["metadata"])} for row in rows],
        vectors,
        {**told, "dim": int(told["dim"])},
    )


FORMS: dict[str, Read] = {"jsonl": read_jsonl, "npz": read_npz, "npy": read_npy, "parquet": read_parquet}


@pytest.mark.parametrize("count", [0, 1, 300])
@pytest.mark.parametrize("form", FORMS)
def test_other_tools_read_what_was_written(
    form: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_table, "ROWS_AT_ONCE", 128)
    path = tmp_path / f"vectors.{form}"
    seen: list[None] = []
    assert export_rows(make_rows(count), NOTE, path, lambda: seen.append(None)) == len(seen) == count
    rows, vectors, about = FORMS[form](path)
    expected = list(make_rows(count))
    assert rows == [
        {"id": row.id, "path": row.metadata["path"], "kind": row.kind}
        | {"metadata": {name: value for name, value in row.metadata.items() if name != "path"}}
        for row in expected
    ]
    assert vectors.shape == (count, DIM)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.array([row.vector for row in expected], np.float32).reshape(-1, DIM))
    if count or form != "jsonl":  # a file of no lines tells nothing, and holds nothing to mix up
        assert (about["model"], about["fingerprint"], about["dim"]) == ("a-model", "0123abcd", DIM)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_takes_its_name_when_it_is_complete(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"vectors.{form}"
    export_rows(make_rows(3), NOTE, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def broken() -> Iterator[Row]:
        yield from make_rows(200)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_rows(broken(), NOTE, path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before, "and nothing else is left"


@pytest.mark.parametrize("form", FORMS)
def test_many_rows_need_no_more_memory(form: str, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        export_rows(make_rows(count), NOTE, tmp_path / f"vectors.{form}")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # imports
    few, many = peak(vector_table.ROWS_AT_ONCE), peak(8 * vector_table.ROWS_AT_ONCE)
    assert many < 1.5 * few + 100_000


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Iterator[Row]:
        raise AssertionError("no row should be read")
        yield

    with pytest.raises(ConfigError, match=r"known are \.jsonl, \.npz, \.npy, \.parquet"):
        export_rows(never(), NOTE, tmp_path / "vectors.csv")
    with pytest.raises(ConfigError, match="there is no folder"):
        export_rows(never(), NOTE, tmp_path / "absent" / "vectors.npz")
    monkeypatch.setattr(vector_table, "is_installed", lambda name: False)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'babelclip\[parquet\]'"):
        export_rows(never(), NOTE, tmp_path / "vectors.parquet")
