"""Where the vectors of ``babelclip embed`` go: a file whose suffix says the form, or JSON lines on stdout.

Files hold the good items, each with its ``index`` in the input; in a bare matrix (``.npy``) every item has its row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from babelclip.cli.items import InputItem
from babelclip.vector_table import Column, LinesWriter, Table, Writer, open_table

TABLE = Table((Column("index", "integer"), Column("kind"), Column("input"), Column("id", optional=True)))


def row_of(item: InputItem) -> dict[str, Any]:
    """What stands beside an item's vector."""
    row: dict[str, Any] = {"index": item.index, "kind": item.kind, "input": item.shown}
    return row if item.id is None else {**row, "id": item.id}


@contextmanager
def open_output(path: Path | None) -> Iterator[Writer]:
    """The table for a file name, or JSON lines on stdout.

    Raises:
        ConfigError: as ``open_table``.
        RuntimeUnavailable: as ``open_table``.
    """
    if path is not None:
        with open_table(path, TABLE) as table:
            yield table
        return
    lines = LinesWriter(sys.stdout, TABLE)
    yield lines
    lines.finish()
