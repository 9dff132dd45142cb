"""``babelclip embed``: texts and images to vectors."""

from __future__ import annotations

from operator import length_hint
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from babelclip.cli.options import KindOptions, ModelOptions

NumberType = Literal["float", "int8", "uint8", "binary", "ubinary"]


def embed(
    items: list[str] | None = None,
    /,
    *,
    stdin: Annotated[bool, Parameter(name=("--stdin", "-"))] = False,
    dim: int | None = None,
    type: NumberType = "float",
    task: str | None = None,
    max_tokens: int | None = None,
    out: Path | None = None,
    errors_to: Path | None = None,
    kinds: KindOptions = KindOptions(),
    model: ModelOptions = ModelOptions(),
    quiet: bool = False,
) -> int:
    """Turn texts and images into vectors of length one.

    Results are JSON lines on stdout in the order of the input, or a file whose suffix says the format. When some items
    fail, the others are written, the failures are listed on stderr and the exit code is 3.

    Args:
        items: Texts and image files, in any mixture. Put -- before those that begin with a hyphen.
        stdin: Read JSON lines instead: strings, {"text": ...} or {"image": ...}, with an optional "id".
        dim: Cut vectors to this width (then bring them to length one again); the model's full width when left out.
        type: Numbers of the result. int8 is round(127 x), uint8 is int8 + 128, ubinary packs the signs of 8 dimensions
            into a byte, binary is ubinary - 128.
        task: What the texts are for, where the model knows tasks; adds its instruction to texts.
        max_tokens: Cut texts to this many tokens, special ones included.
        out: Write to this file instead: .jsonl, .npy, .npz or .parquet (needs babelclip[parquet]).
        errors_to: List failed items in this file too, as JSON lines.
        quiet: Show no progress.
    """
    from babelclip.cli.encode import FailureList, encode_items
    from babelclip.cli.items import read_items
    from babelclip.cli.output import check_suffix, open_sink
    from babelclip.errors import BabelclipError
    from babelclip.progress import show_progress
    from babelclip.vectors import quantize

    check_suffix(out)
    todo = read_items(items or [], kinds.forced, stdin=stdin)
    encoder = model.open()
    num_good = 0
    with (
        FailureList(errors_to) as failures,
        open_sink(out) as sink,
        show_progress("items", length_hint(todo), show=not quiet) as meter,
    ):
        for encoded in encode_items(encoder, todo, dim=dim, task=task, max_tokens=max_tokens):
            if encoded.vector is None:
                failures.add(encoded)
                sink.add_failed(encoded.item)
            else:
                num_good += 1
                sink.add(encoded.item, encoded.vector if type == "float" else quantize(encoded.vector[None], type)[0])
            meter.advance()
        if out is not None and num_good == 0 and failures.count:
            raise BabelclipError(f"all {failures.count} items failed; {out} was not written")
    return failures.exit_code(num_good)
