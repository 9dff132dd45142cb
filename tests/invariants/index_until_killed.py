"""Index a folder in small batches, and tell after each how many rows are kept: for test_killed_index.py."""

from __future__ import annotations

import sys

import babelclip
from babelclip.search import indexing, read_file
from babelclip.search.index import Index
from babelclip.search.walk import Wanted


def main(url: str, folder: str) -> None:
    indexing.BATCH_ROWS, read_file.PIECE = 6, 20
    with Index.open(url, babelclip.load(threads=1), create=True) as index:
        report = index.add(
            [folder], Wanted(text=True), progress=lambda done, total: print(f"kept {index.count()}", flush=True)
        )
        print(f"done {report.embedded} {report.unchanged}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
