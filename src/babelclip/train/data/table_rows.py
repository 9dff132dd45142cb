"""Rows of the tables that people keep data in: CSV, TSV, JSONL, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from babelclip.decode import decode_as, parse_json
from babelclip.errors import DatasetError

TABLE_SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
TableRow = Mapping[str, Any]


def read_table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a CSV, TSV, JSONL or Parquet file by column name; empty cells are left out.

    Raises:
        DatasetError: No such file, another format, or a line that cannot be read.
    """
    if not path.is_file():
        raise DatasetError(f"there is no file {path}")
    try:
        if path.suffix in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows: list[dict[str, Any]] = list(
                    csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t")
                )
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [decode_as(dict[str, Any], parse_json(line), "a line") for line in lines if line.strip()]
        elif path.suffix == ".parquet":
            rows = parquet.read_table(path).to_pylist()
        else:
            raise DatasetError(f"{path.name}: expected .csv, .tsv, .jsonl or .parquet")
    except (UnicodeDecodeError, ValueError, csv.Error, pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    for row in rows:
        yield {name: value for name, value in row.items() if value not in (None, "", [])}


def read_tables(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows of a file, or of all such files of a folder, each with where it stands, for messages.

    Raises:
        DatasetError: As ``read_table_rows``, or a folder without such files.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in TABLE_SUFFIXES)
        if not files:
            raise DatasetError(f"{path} has no rows: expected files in it that end in {', '.join(TABLE_SUFFIXES)}")
    for file in files:
        for number, row in enumerate(read_table_rows(file), start=1):
            yield row, f"{file.name}, row {number}"


def column(row: TableRow, names: Sequence[str], where: str) -> Any:
    """The first of some columns that a row has.

    Raises:
        DatasetError: It has none of them.
    """
    for name in names:
        if name in row:
            return row[name]
    found = ", ".join(map(str, row)) or "nothing"
    raise DatasetError(f"{where}: expected a column {' or '.join(names)}, found {found}")
