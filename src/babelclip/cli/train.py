"""``babelclip train``: run a training recipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def train(
    recipe: str,
    /,
    *,
    data: Annotated[Path, Parameter(env_var="BABELCLIP_DATASETS")],
    model: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    spread: Literal["replicate", "shard"] = "replicate",
    tensorboard: bool = False,
    dry_run: bool = False,
) -> int:
    """Train a model from a recipe.

    Prints the path of the finished model folder; progress goes to stderr. A run that was cut off, even killed, goes on
    from its last state when the same command is given with --resume. Ctrl-C saves first. On several processes:
    torchrun --nproc-per-node N -m babelclip train ...

    Args:
        recipe: TOML file, or the name of one of the project's own: nano, small, finetune-lora, finetune-full,
            large/release.
        data: Folder with the data: what the recipe reads. For finetune-*: images and captions.csv (or .jsonl,
            .parquet), or .tar shards.
        model: The model: what to start from, "bundled", a folder or a hub name (org/name). Needed for finetune-*; for
            small, those of its towers that the recipe has too are trained on, in place of the pretrained parts.
        out: Where to write the result: a folder for everything the run makes, log, curve, states, the model; runs/ and
            the recipe's name when left out.
        resume: Go on with the run that is in --out.
        spread: On several processes: the whole model on each (DDP), or its parameters shared among them (FSDP2).
        tensorboard: Write event files for TensorBoard too, in the output folder.
        dry_run: Read no data and train nothing: print parameters, tokens, memory and time per step of every stage.
    """
    from babelclip.bundled import bundled_folder
    from babelclip.checkpoint.fetch import open_folder
    from babelclip.errors import ConfigError
    from babelclip.optional_dependency import needed_for

    with needed_for("training", "train"):
        from babelclip.train.begin import begin, planned_config
        from babelclip.train.contrast_recipe import ContrastRecipe
        from babelclip.train.contrast_run import train_contrast
        from babelclip.train.dry_run import needs_table, stage_needs
        from babelclip.train.pipeline import train as train_small
        from babelclip.train.recipe import find_recipe, read_recipe
        from babelclip.train.spread import open_ranks
    path = find_recipe(recipe)
    chosen, place = read_recipe(path), out or Path("runs") / path.stem
    start = None if model is None else open_folder(bundled_folder() if model == "bundled" else model)
    if isinstance(chosen, ContrastRecipe):
        tokenizer = bundled_folder() / "tokenizer.json"
        if dry_run:
            config = planned_config(chosen, tokenizer) if start is None else start.config
            for plan in chosen.stages:
                print(needs_table(stage_needs(plan, config)))
            return 0
        with open_ranks() as ranks:
            start = begin(chosen, start, tokenizer, data, place / "start", ranks)
            folder = train_contrast(
                chosen, start, data, place, resume=resume, say=_say, spread=spread, tensorboard=tensorboard
            )
            if ranks.rank > 0:  # the first one says where the model is
                return 0
    else:
        if dry_run:
            raise ConfigError(f"--dry-run knows recipes of kind contrast, which {path.name} is not")
        if spread != "replicate" or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                f"{path.name} runs on one process; torchrun and --spread are for recipes of kind contrast"
            )
        folder = train_small(chosen, data, place, resume=resume, say=_say, start=start, tensorboard=tensorboard)
    print(folder)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
