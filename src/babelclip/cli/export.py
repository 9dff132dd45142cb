"""``babelclip export``: an index's rows and vectors as a file for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from babelclip.cli.filters import FilterOptions, check_on_index
from babelclip.cli.options import IndexOption, QuietOption


def export(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    index: IndexOption = None,
    only: FilterOptions = FilterOptions(),
    quiet: QuietOption = False,
) -> int:
    """Write what is indexed, vectors included, to a file for other tools.

    babelclip export vectors.parquet

    babelclip export - --after 2024 | jq .path

    Args:
        file: Its ending says the form: .jsonl, .npz, .npy (and .npy.jsonl beside it) or .parquet; - for JSON lines on
            stdout.
    """
    from babelclip.errors import StoreError
    from babelclip.progress import show_progress
    from babelclip.search.export import export_rows, print_rows
    from babelclip.search.filters import And, In
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url
    from babelclip.vector_table import check_table_file

    url = index_url(index)
    condition = only.condition()
    if only.kind:
        condition = And((In("kind", only.kind), *([] if condition is None else [condition])))
    to_stdout = str(file) == "-"
    if not to_stdout:
        check_table_file(file)
    with Index.open(url, None) as opened:
        store, note = opened.store(), opened.model()
        if store is None or note is None:
            raise StoreError(f"the index {opened.database.url} is empty: babelclip index FOLDER fills it")
        check_on_index(opened, condition, only.inside, only.kind)
        with show_progress("exporting", store.count(condition), show=not quiet) as meter:
            rows = store.rows(condition)
            if to_stdout:
                print_rows(rows, note, sys.stdout, meter.advance)
                return 0
            count = export_rows(rows, note, file, meter.advance)
    print(f"{count:,} rows of {note.dim} numbers each, by {note.model}: {file}")
    return 0
