"""``babelclip mine``: hard negatives for pairs of texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from babelclip.atomic_write import write_text
from babelclip.cli.options import ModelOptions
from babelclip.cli.plain_output import on_one_line

_NO_MODEL_OPTIONS = ModelOptions()


def mine(
    pairs: Path,
    /,
    *,
    out: Path,
    negatives: int = 7,
    below: float = 0.95,
    corpus: Path | None = None,
    options: ModelOptions = _NO_MODEL_OPTIONS,
) -> int:
    """Find hard negatives, passages that look right to a model and are not.

    Writes triplets as JSON lines (anchor, positive, negatives), which the trainer reads.

    Args:
        pairs: JSONL, CSV or Parquet with the columns anchor (or query) and positive (or passage).
        out: Where to write the result: a file of JSON lines.
        negatives: How many each row gets.
        below: A negative scores at most this share of what the row's own positive scores: what scores as high is often
            right.
        corpus: More passages to choose from: a file with one a line.
    """
    from babelclip.cli.items import read_lines
    from babelclip.optional_dependency import needed_for

    with needed_for("mining", "train"):
        from babelclip.train.data.negatives import mine as find
        from babelclip.train.data.text_rows import read_text_rows
    rows = read_text_rows(pairs)
    more = [] if corpus is None else [line for line in read_lines(corpus) if line.strip()]
    found, without = find(rows, options.open(), negatives=negatives, corpus=more, below=below)
    lines = ({"anchor": row.anchor, "positive": row.positive, "negatives": list(row.negatives)} for row in found)
    write_text(out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    print(
        f"{len(found)} rows written to {on_one_line(out)}; {without} found fewer than {negatives} negatives",
        file=sys.stderr,
    )
    return 0
