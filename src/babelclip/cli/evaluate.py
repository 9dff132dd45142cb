"""``babelclip evaluate``: measure a model on a folder of evaluation data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from babelclip.cli.options import ModelOptions, QuietOption
from babelclip.cli.plain_output import on_one_line

_NO_MODEL_OPTIONS = ModelOptions()


def evaluate(
    *,
    out: Path,
    data: Annotated[Path | None, Parameter(env_var="BABELCLIP_DATASETS")] = None,
    suite: Literal["small", "quick", "wide"] = "small",
    clip_benchmark: list[Path] | None = None,
    language: str = "en",
    dim: int | None = None,
    dims: list[int] | None = None,
    precisions: list[Literal["int8", "binary"]] | None = None,
    seed: int = 0,
    quiet: QuietOption = False,
    options: ModelOptions = _NO_MODEL_OPTIONS,
) -> int:
    """Measure a model: retrieval, recognition by name, sentence similarity, translations, topics; per language.

    Prints the bars as a table and writes every score to a result file. A run that was cut off goes on where it
    stopped when the same command is given again.

    Args:
        out: Where to write the result: a file (JSON), written after every task.
        data: Folder with the data: eval/ and labels.json.gz, for the suites.
        suite: "small": the sets that the bundled model is judged by, with bars. "quick": fewer languages and prompts,
            for a look during training. "wide": all families on all sets, translations and topics too.
        clip_benchmark: Folders in the layout of CLIP_benchmark (test/0.tar and so on), in place of a suite.
        language: Of their captions or class names.
        dim: Width of the vectors; the model's own when left out.
        dims: Measure the vectors cut to these widths too; each text and image is encoded once.
        precisions: Measure them quantized too, at every width.
        seed: Of the bootstrap intervals; it changes no score.
    """
    from babelclip.errors import ConfigError
    from babelclip.optional_dependency import needed_for

    with needed_for("evaluating", "evaluate"):
        from babelclip.evaluate.suites import open_clip_benchmarks, open_suite
    from babelclip.evaluate.encode import Precision, VectorForm
    from babelclip.evaluate.run import run_suite
    from babelclip.evaluate.tables import forms_table, targets_table, tasks_table
    from babelclip.progress import show_progress

    if clip_benchmark:
        chosen = open_clip_benchmarks(clip_benchmark, language)
    elif data is not None:
        chosen = open_suite(suite, data)
    else:
        raise ConfigError("expected --data for a suite, or --clip-benchmark with folders in that layout; found neither")
    kinds: list[Precision] = ["float32", *(precisions or [])]
    cuts = dict.fromkeys((None, *(dims or []), *chosen.widths))
    forms = [VectorForm(width, precision) for width in cuts for precision in kinds]
    encoder = options.open()
    with show_progress("reading", show=not quiet) as meter:
        result = run_suite(
            chosen,
            encoder,
            encoder.facts(),
            out=out,
            dim=dim,
            forms=forms,
            seed=seed,
            progress=lambda what, done, total: meter.update(done, total, what=what),
            say=meter.say,
        )
    if result.targets:
        print(targets_table([result]))
        print()
    print(tasks_table(result))
    if len(forms) > 1:
        print()
        print(forms_table(result))
    if not quiet:
        print(f"Every score by language, with intervals: {on_one_line(out)}", file=sys.stderr)
    return 0
