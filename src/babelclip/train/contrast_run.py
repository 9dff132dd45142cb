"""A run of contrastive stages: from a model folder and one's own data to a model folder.

The output folder holds ``log.jsonl``, ``train.png``, the stages' states, ``report.json`` (held-out images before and
after) and at the end ``model``. A killed run is given again with ``--resume`` and goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from babelclip.checkpoint.card import CardFacts, license_of
from babelclip.checkpoint.checksums import write_checksums
from babelclip.checkpoint.convert import load_towers, state_tensors
from babelclip.checkpoint.folder import CARD, ModelFolder, write_folder
from babelclip.checkpoint.quantized import INT4, INT8
from babelclip.checkpoint.write_published import write_published
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.towers.patches import ConvPatches
from babelclip.towers.resize import resize_tower
from babelclip.train.contrast_recipe import ContrastRecipe, StagePlan, TowerPlan, open_tasks
from babelclip.train.contrast_stage import ContrastStage
from babelclip.train.curve import draw_curve
from babelclip.train.data.collate import Collator, ContrastSettings
from babelclip.train.held_out import Measured, compare, measure
from babelclip.train.live_encoder import live_encoder
from babelclip.train.loop import Engine, RunLog, run_stage
from babelclip.train.lora import add_lora, merge_lora
from babelclip.train.optim import layer_rates
from babelclip.train.spread import Ranks, Spread, open_ranks
from babelclip.train.write_model import NOTICE_FILE, WORDS, shipped_tensors

Say = Callable[[str], None]


def train_contrast(
    recipe: ContrastRecipe,
    model: ModelFolder,
    data: Path,
    out: Path,
    *,
    resume: bool,
    say: Say,
    spread: Spread = "replicate",
    tensorboard: bool = False,
) -> Path:
    """Train on from ``model``; returns the new model folder. One process, or as many as torchrun has started.

    Raises: ConfigError when ``out`` holds a run and ``resume`` is not given, or the recipe asks for what the model has
    not; DatasetError when data are missing or not as documented.
    """
    log_file = out / "log.jsonl"
    if log_file.is_file() and not resume:
        raise ConfigError(f"{out} already holds a run. Go on with --resume, or give another --out")
    out.mkdir(parents=True, exist_ok=True)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    with open_ranks() as ranks:
        quiet: Say = say if ranks.rank == 0 else lambda line: None
        log, engine = RunLog(log_file, ranks, tensorboard=tensorboard), Engine(ranks=ranks, spread=spread)
        towers = load_towers(model, adapters="live")
        run = _Run(recipe, model, data, out, log, quiet)
        before = run.measure(towers, "before", ranks)
        for stage in recipe.stages:
            run.stage(stage, towers, engine, resume=resume)
        if recipe.kept < 1:
            start = load_towers(model, adapters="live")
            if start.vision is not None and towers.vision is not None:
                start.vision = resize_tower(start.vision, towers.vision.config.image_size)
            keep_share(towers, start, recipe.kept)
        after = run.measure(towers, "after", ranks)
        if ranks.rank == 0:
            report = {} if before is None or after is None else compare(before, after, recipe.seed)
            if report:
                (out / "report.json").write_text(json.dumps(report, indent=1))
            draw_curve(log_file, out / "train.png")
            write(towers, run.image_prepare, recipe, model, data, out / "model", quiet, results=card_results(report))
    return out / "model"


class _Run:
    """What all stages share."""

    def __init__(
        self, recipe: ContrastRecipe, model: ModelFolder, data: Path, out: Path, log: RunLog, say: Say
    ) -> None:
        self._recipe, self._out, self._log, self._say = recipe, out, log, say
        self._opened = {plan.name: open_tasks(plan, data, recipe.held_out) for plan in recipe.stages}
        self.texts = TextPreparer(model.tokenizer_file, model.text_prepare)
        self.image_prepare = model.image_prepare

    @property
    def images(self) -> ImagePreparer | None:
        return None if self.image_prepare is None else ImagePreparer(self.image_prepare)

    def resize(self, towers: DualEncoder, image_size: int) -> None:
        """Another image size from here on."""
        if towers.vision is None or self.image_prepare is None:
            raise ConfigError(f"image_size = {image_size}, but this model has no image tower")
        towers.vision = resize_tower(towers.vision, image_size)
        towers.config = replace(towers.config, vision=towers.vision.config)
        self.image_prepare = replace(self.image_prepare, size=image_size)

    def measure(self, towers: DualEncoder, when: str, ranks: Ranks) -> Measured | None:
        """The held-out images of all stages, each source once, by the first rank; None where there is none."""
        found = {images.name(0): images for _, kept_back in self._opened.values() for images in kept_back}
        if not found or ranks.rank > 0:
            return None
        measured = measure(live_encoder(towers, self.texts, self.images), list(found.values()))
        self._log.write(when, 0, measured.figures())
        self._say(f"held-out images {when}: " + ", ".join(f"{k} {v:.1f}" for k, v in measured.figures().items()))
        return measured

    def stage(self, plan: StagePlan, towers: DualEncoder, engine: Engine, *, resume: bool) -> None:
        """Train one stage."""
        if plan.image_size is not None:
            self.resize(towers, plan.image_size)
        trained = sum(prepare_tower(getattr(towers, name), part) for name, part in _parts(plan, towers))
        self._say(f"stage {plan.name}: {trained:,} parameters are trained")
        tasks, _ = self._opened[plan.name]
        settings = ContrastSettings(
            max_tokens=min(plan.max_tokens, self.texts.config.max_tokens),
            keep_patches=plan.keep_patches,
            seed=self._recipe.seed,
        )
        collator = Collator(tasks, towers.config, self.texts, self.images, settings)
        if towers.logit_scale is not None:
            towers.logit_scale.requires_grad_(False)  # every task has a temperature of its own
        rates: dict[str, float] = {}
        for name, part in _parts(plan, towers):
            rates |= layer_rates(f"{name}.blocks", len(getattr(towers, name).blocks), part.layer_decay)
        stage = ContrastStage(
            plan.name,
            towers,
            tasks,
            collator,
            half_precision=plan.half_precision,
            rates=rates,
            keep_features=plan.keep_features if _has_trunk(towers) else 0,
        )
        engine = replace(engine, piece=plan.piece)
        run_stage(stage, plan.budget, plan.optim, self._out, self._log, resume=resume, engine=engine)
        for name, _ in _parts(plan, towers):
            release_tower(getattr(towers, name))
        for image, reason in collator.failures.items():
            self._say(f"skipped {image}: {reason}")


def _parts(plan: StagePlan, towers: DualEncoder) -> list[tuple[str, TowerPlan]]:
    return [("text", plan.text), *([("vision", plan.image)] if towers.vision is not None else [])]


def _has_trunk(towers: DualEncoder) -> bool:
    """Whether there is a convolutional trunk, whose features are worth keeping; linear patches cost nothing."""
    return towers.vision is not None and isinstance(towers.vision.patches, ConvPatches)


def prepare_tower(tower: nn.Module, plan: TowerPlan) -> int:
    """Freeze, adapt or open a tower; returns how many of its parameters are trained."""
    if plan.train == "lora":
        trained = add_lora(tower, plan.rank, plan.alpha)
    else:
        tower.requires_grad_(plan.train == "full")
        trained = sum(parameter.numel() for parameter in tower.parameters() if parameter.requires_grad)
    if plan.checkpoint:
        checkpoint_blocks(tower)
    return trained


def checkpoint_blocks(tower: nn.Module) -> None:
    """Blocks forget their inner values and compute them again for the gradient (Chen et al. 2016)."""
    blocks = tower.get_submodule("blocks")
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        forward = block.forward
        block.forward = _again(forward)


def release_tower(tower: nn.Module) -> None:
    """Undo what ``prepare_tower`` added, so that another stage can prepare the tower anew; what was learned stays."""
    merge_lora(tower)
    for block in tower.get_submodule("blocks").children():
        block.__dict__.pop("forward", None)  # the checkpointed one; the class's own is found again


def _again(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def run(*arguments: object, **options: Any) -> torch.Tensor:
        found: torch.Tensor = torch.utils.checkpoint.checkpoint(forward, *arguments, use_reentrant=False, **options)
        return found

    return run


@torch.no_grad()
def keep_share(towers: nn.Module, start: nn.Module, kept: float) -> None:
    """Move trained weights part of the way back to where they began (WiSE-FT, Wortsman et al. 2022)."""
    before = dict(start.named_parameters())
    for name, parameter in towers.named_parameters():
        parameter.lerp_(before[name], 1 - kept)


def write(
    towers: DualEncoder,
    image_prepare: ImagePrepareConfig | None,
    recipe: ContrastRecipe,
    model: ModelFolder,
    data: Path,
    out: Path,
    say: Say,
    *,
    results: Sequence[tuple[str, str]] = (),
) -> None:
    """The trained model in the layout, and with the number types, of the one it began as. results: for its card."""
    say(f"writing {out}")
    tensors = state_tensors(towers)
    if model.layout != "babelclip":
        dtype = load_dtype(model)
        write_published(
            out,
            config=towers.config,
            text_prepare=model.text_prepare,
            image_prepare=image_prepare,
            tensors={name: tensor.to(dtype) for name, tensor in tensors.items()},
            tokenizer_file=model.tokenizer_file,
            overwrite=True,
        )
        return
    stored_as = {name: entry.dtype for name, entry in model.tensor_index().items()}
    is_int8 = INT8 in stored_as.values()
    stages = ", ".join(stage.name for stage in recipe.stages)
    card = CardFacts(
        license=license_of(model.path / CARD),
        summary=f"{model.name}, trained on with babelclip's own trainer (stages: {stages}).",
        parents=(f"{model.name}, fingerprint {model.fingerprint()}",),
        data=(f"images and texts of {data.resolve().name}; whoever trained it knows their terms",),
        results=results,
    )
    write_folder(
        out,
        name=f"{model.name}-tuned",
        config=towers.config,
        text_prepare=model.text_prepare,
        image_prepare=image_prepare,
        tensors=shipped_tensors(tensors, int4_words=stored_as[WORDS] == INT4) if is_int8 else tensors,
        tokenizer_file=model.tokenizer_file,
        card=card,
        overwrite=True,
    )
    if (model.path / NOTICE_FILE).is_file():
        shutil.copyfile(model.path / NOTICE_FILE, out / NOTICE_FILE)
        write_checksums(out)


def card_results(report: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """Lines of a card out of what ``compare`` found."""
    return [
        (
            f"held-out images, {name.replace('_', ' ').replace(' recall@', ' R@')} ({row['queries']:,} queries)",
            f"{row['after']:.1f}; before {row['before']:.1f}, difference {row['low']:+.1f} to {row['high']:+.1f} (95%)",
        )
        for name, row in report.items()
    ]


def load_dtype(model: ModelFolder) -> torch.dtype:
    """Number type of the stored weights."""
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return kinds[model.tensor_index()[WORDS].dtype]
