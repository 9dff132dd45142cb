"""Read evaluation tables: parquet with known columns.

A file of its own, because three families of tasks read tables, and nothing else here needs pyarrow.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from babelclip.errors import DatasetError
from babelclip.evaluate.read_pack import read_data_file
from babelclip.evaluate.task import DataFile


def read_table(folder: Path, path: str, columns: Sequence[str]) -> tuple[dict[str, list[Any]], DataFile]:
    """Columns of ``folder / path`` by name, none of them with empty cells.

    Raises:
        DatasetError: no such file, no parquet, a column is missing, or a cell is empty.
    """
    content, file = read_data_file(folder, path)
    try:
        table = pq.read_table(io.BytesIO(content), columns=list(columns))
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected parquet with the columns {', '.join(columns)}: {error}") from error
    if table.num_rows == 0 or any(column.null_count for column in table.columns):
        raise DatasetError(f"{path}: expected rows without empty cells")
    return table.to_pydict(), file
