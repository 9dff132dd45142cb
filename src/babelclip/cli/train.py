"""``babelclip train``: run a training recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from babelclip.cli.plain_output import on_one_line

if TYPE_CHECKING:
    from babelclip.checkpoint.folder import ModelFolder
    from babelclip.train.recipe import Recipe


def train(
    recipe: str,
    /,
    *,
    data: Annotated[Path, Parameter(env_var="BABELCLIP_DATASETS")],
    model: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    strategy: Literal["replicate", "shard"] = "replicate",
    trial: int | None = None,
    tensorboard: bool = False,
    dry_run: bool = False,
) -> int:
    """Train a model from a recipe.

    Prints the path of the finished model folder; progress goes to stderr. A run that was cut off, even killed, goes on
    from its last state when the same command is given with --resume. Ctrl-C saves first. On several processes:
    torchrun --nproc-per-node N -m babelclip train ...

    Args:
        recipe: TOML file, or the name of one of the project's own: nano, finetune-lora, finetune-full, small,
            large/release.
        data: Folder with the data: what the recipe reads. For finetune-*: images and captions.csv (or .jsonl,
            .parquet), or .tar shards.
        model: The model: what to start from, "bundled", a folder or a hub name (org/name). Needed for finetune-*;
            other recipes say or build what they start from.
        out: Where to write the result: a folder for everything the run makes, log, curve, states, the model; runs/ and
            the recipe's name when left out.
        resume: Go on with the run that is in --out.
        device: Device that torch computes on, for instance cpu or cuda; a GPU where there is one, when left out.
        strategy: On several processes: the whole model on each (DDP), or its parameters shared among them (FSDP2).
        trial: Try the recipe: so many steps of every stage, into --out with "-trial" behind.
        tensorboard: Write event files for TensorBoard too, in the output folder.
        dry_run: Read no data and train nothing: print parameters, tokens, memory and time per step of every stage.
    """
    from babelclip.bundled import bundled_folder
    from babelclip.checkpoint.fetch import open_folder
    from babelclip.optional_dependency import needed_for

    with needed_for("training", "train"):
        from babelclip.train.engine.device import choose_device
        from babelclip.train.engine.distributed import open_process_group
        from babelclip.train.recipe import find_recipe, read_recipe
        from babelclip.train.run import RunOptions
        from babelclip.train.run import train as run_recipe
        from babelclip.train.start_model import start_model
    path = find_recipe(recipe)
    chosen, out_folder = read_recipe(path), out or Path("runs") / path.stem
    if trial is not None:
        chosen, out_folder = chosen.trial(trial), out_folder.with_name(f"{out_folder.name}-trial")
    named = None if model is None else open_folder(bundled_folder() if model == "bundled" else model)
    tokenizer = bundled_folder() / "tokenizer.json"
    if dry_run:
        return _print_estimate(chosen, named, tokenizer, data)
    chosen_device = choose_device(device)
    with open_process_group(chosen_device) as group:
        start = start_model(chosen, named, tokenizer, data, out_folder / "start", group)
        options = RunOptions(
            resume=resume, device=chosen_device, group=group, strategy=strategy, tensorboard=tensorboard, say=_say
        )
        folder = run_recipe(chosen, start, data, out_folder, options)
    if group.is_first:  # it says where the model is
        print(folder)
    return 0


def _print_estimate(recipe: Recipe, named: ModelFolder | None, tokenizer: Path, data: Path) -> int:
    """Figures of every stage on stdout."""
    from babelclip.checkpoint.folder import read_folder
    from babelclip.train.estimate import needs_table, stage_needs
    from babelclip.train.start_model import planned_config

    if named is None and recipe.start:
        named = read_folder(data / recipe.start)
    config = planned_config(recipe, tokenizer) if named is None else named.config
    for plan in recipe.stages:
        print(needs_table(stage_needs(plan, config)))
    return 0


def _say(line: str) -> None:
    print(on_one_line(line), file=sys.stderr, flush=True)
