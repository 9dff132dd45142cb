"""``babelclip curves``: look at a training run, or compare several.

A file of its own, because every verb has one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def curves(
    runs: list[Path], /, *, out: Path | None = None, json_lines: Annotated[bool, Parameter(name="--json")] = False
) -> int:
    """Compare trainings: a table of their last figures, and a picture of their curves.

    Args:
        runs: Output folders of babelclip train, also of runs that go on.
        out: Where to write the result: the picture, .png or .svg.
        json_lines: Results as JSON lines on stdout, in place of text to read.
    """
    from babelclip.optional_dependency import needed_for

    with needed_for("curves", "train"):
        from babelclip.train.curve import draw_curve, last_figures
    figures = [last_figures(run / "log.jsonl") for run in runs]
    for stage, name in dict.fromkeys(key for of_run in figures for key in of_run):
        found = [of_run.get((stage, name)) for of_run in figures]
        if json_lines:
            by_run = dict(zip(map(str, runs), found, strict=True))
            print(json.dumps({"stage": stage, "figure": name, "runs": by_run}))
        else:
            columns = "".join(f"{'-' if value is None else f'{value:.4f}':>12}" for value in found)
            print(f"{stage + ': ' + name:<48}{columns}")
    if out is not None:
        draw_curve([run / "log.jsonl" for run in runs], out)
    return 0
