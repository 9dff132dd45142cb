"""``babelclip embed``: texts and images to vectors."""

from __future__ import annotations

from operator import length_hint
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from babelclip.cli.options import ErrorsToOption, KindOptions, ModelOptions, QuietOption

_Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]


def embed(
    items: list[str] | None = None,
    /,
    *,
    stdin: Annotated[bool, Parameter(name=("--stdin", "-"))] = False,
    dim: int | None = None,
    precision: _Precision = "float32",
    task: str | None = None,
    max_tokens: int | None = None,
    out: Path | None = None,
    errors_to: ErrorsToOption = None,
    kinds: KindOptions = KindOptions(),
    model: ModelOptions = ModelOptions(),
    quiet: QuietOption = False,
) -> int:
    """Turn texts and images into vectors of length one.

    Results are JSON lines on stdout in the order of the input, or a file whose suffix says the format. When some items
    fail, the others are written, the failures are listed on stderr and the exit code is 3. A damaged image is embedded
    as far as it can be read, with "damaged": 1 beside it.

    Args:
        items: Texts and image files, in any mixture. Put -- before those that begin with a hyphen.
        stdin: Read what is asked from stdin, one a line, in place of arguments: JSON lines, each a string, {"text":
            ...} or {"image": ...}, with an optional "id".
        dim: Width of the vectors: they are cut to it, then brought to length one again; the model's own when left out.
        precision: Numbers of the vectors: int8 is round(127 x), uint8 is int8 + 128, ubinary packs the signs of 8
            dimensions into a byte, binary is ubinary - 128.
        task: What the texts are for, where the model knows tasks; adds its instruction to texts.
        max_tokens: Cut texts to this many tokens, special ones included.
        out: Where to write the result: a file whose suffix says the form, .jsonl, .npy, .npz or .parquet (needs
            babelclip[parquet]); JSON lines on stdout when left out.
    """
    from babelclip.cli.encode import FailureList, encode_items
    from babelclip.cli.items import read_input_items
    from babelclip.cli.output import open_output, row_of
    from babelclip.errors import BabelclipError
    from babelclip.progress import show_progress
    from babelclip.vector_table import check_table_file
    from babelclip.vectors import quantize

    if out is not None:
        check_table_file(out)
    todo = read_input_items(items or [], kinds.forced, stdin=stdin)
    encoder = model.open()
    num_good = 0
    with (
        FailureList(errors_to) as failures,
        open_output(out) as table,
        show_progress("items", length_hint(todo), show=not quiet) as meter,
    ):
        for encoded in encode_items(encoder, todo, dim=dim, task=task, max_tokens=max_tokens):
            if encoded.vector is None:
                failures.add(encoded)
                table.add_gap()
            else:
                num_good += 1
                failures.tell_damage(encoded)
                vector = encoded.vector if precision == "float32" else quantize(encoded.vector[None], precision)[0]
                table.add(row_of(encoded), vector)
            meter.advance()
        if out is not None and num_good == 0 and failures.count:
            raise BabelclipError(f"all {failures.count} items failed; {out} was not written")
    return failures.exit_code(num_good)
