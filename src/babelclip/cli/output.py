"""Where the vectors of ``babelclip embed`` go: a file whose suffix says the form, or JSON lines on stdout.

Files hold the good items, each with its ``index`` in the input; in a bare matrix (``.npy``) every item has its row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from babelclip.cli.encode import Encoded
from babelclip.vector_table import Column, LinesWriter, Table, Writer, open_table

TABLE = Table(
    (
        Column("index", "integer"),
        Column("kind"),
        Column("input"),
        Column("id", optional=True),
        Column("damaged", "integer", optional=True),
    )
)


def row_of(encoded: Encoded) -> dict[str, Any]:
    """What stands beside an item's vector."""
    item = encoded.item
    row: dict[str, Any] = {"index": item.index, "kind": item.kind, "input": item.shown}
    if item.id is not None:
        row["id"] = item.id
    return row if encoded.damage is None else {**row, "damaged": 1}


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
