"""A run of stages: from a model folder and one's own data to a model folder.

The output folder holds ``log.jsonl``, ``train.png``, the stages' states, ``report.json`` (held-out images before and
after) and at the end ``model``. A killed run is given again with ``--resume`` and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from babelclip.atomic_write import atomic_path, write_json
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import ModelFolder
from babelclip.errors import ConfigError
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.towers.resize import resize_tower
from babelclip.train.curve import draw_curve
from babelclip.train.data.captioned_images import CaptionedImage
from babelclip.train.data.sources import Sources
from babelclip.train.engine.device import describe
from babelclip.train.engine.distributed import ONE_PROCESS, ProcessGroupInfo, Strategy
from babelclip.train.engine.loop import Engine, run_stage
from babelclip.train.engine.run_log import RunLog
from babelclip.train.held_out import Measured, compare, measure, warning_of_few
from babelclip.train.live_encoder import live_encoder
from babelclip.train.open_stage import Workshop, open_frozen, open_stage
from babelclip.train.post_steps.post_step import NewTensors, PostStepContext
from babelclip.train.recipe import Recipe, StagePlan
from babelclip.train.tower_plan import prepare_tower, release_tower
from babelclip.train.write_model import card_results, check_write, write_model

_Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a run is done, whatever its recipe says."""

    resume: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: ProcessGroupInfo = ONE_PROCESS
    strategy: Strategy = "replicate"
    tensorboard: bool = False
    say: _Say = print


def train(recipe: Recipe, start: ModelFolder, data: Path, out: Path, options: RunOptions) -> Path:
    """Train on from ``start``; returns the new model folder. One process, or as many as torchrun has started.

    Raises:
        ConfigError: ``out`` holds a run and is not resumed, or the recipe asks for what the model has not.
        DatasetError: Data are missing or not as documented.
    """
    if (out / "log.jsonl").is_file() and not options.resume:
        raise ConfigError(f"{out} already holds a run. Go on with --resume, or give another --out")
    check_write(recipe, start, data)
    out.mkdir(parents=True, exist_ok=True)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    run = _Run(recipe, start, data, out, options)
    run.say(f"training on {describe(options.device)}")
    before = run.measure("before")
    for plan in recipe.stages:
        run.stage(plan)
    if recipe.interpolation < 1:
        run.interpolate()
    after = run.measure("after")
    if options.group.is_first:
        report = {} if before is None or after is None else compare(before, after, recipe.seed)
        if report:
            write_json(out / "report.json", report, indent=1)
        draw_curve([out / "log.jsonl"], out / "train.png")
        run.say(f"writing {out / 'model'}")
        prepare = run.workshop.images.config if run.workshop.images is not None else None
        write_model(run.towers, prepare, recipe, start, data, out / "model", results=card_results(report))
    return out / "model"


class _Run:
    """A run under way."""

    def __init__(self, recipe: Recipe, start: ModelFolder, data: Path, out: Path, options: RunOptions) -> None:
        self._recipe, self._start, self._out, self._options = recipe, start, out, options
        self.say: _Say = options.say if options.group.is_first else lambda line: None
        self._log = RunLog(out / "log.jsonl", options.group, tensorboard=options.tensorboard)
        self.workshop = Workshop(
            recipe,
            Sources(recipe.data, data, recipe.held_out),
            data,
            out / "cache",
            TextPreparer(start.tokenizer_file, start.text_prepare),
            None if start.image_prepare is None else ImagePreparer(start.image_prepare),
            options.device,
            options.group.rank,
        )
        self.towers = load_towers(start, adapters="live").to(options.device)
        self._held_out = self._open_held_out()
        self._latest: Measured | None = None  # of the towers as they are

    def _open_held_out(self) -> list[CaptionedImage]:
        """The held-out images of all sources that are trained on."""
        sources = self.workshop.sources
        captioned = [name for name, source in self._recipe.data.items() if source.kind == "captioned_images"]
        held_out = [image for name in captioned for image in sources.held_out_images(name)]
        if held_out and (warning := warning_of_few(len(held_out))) is not None:
            self.say(warning)
        return held_out

    def measure(self, when: str) -> Measured | None:
        """The held-out images, by the first process; None where there is none."""
        if not self._held_out or not self._options.group.is_first:
            return None
        measured = self._latest or self._measured()
        figures = measured.figures()
        self._log.write(when, 0, figures)
        self.say(f"held-out images {when}: " + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
        return measured

    def _measured(self) -> Measured:
        encoder = live_encoder(self.towers, self.workshop.texts, self.workshop.images, self._options.device)
        return measure(encoder, self._held_out)

    def _figures(self) -> dict[str, float]:
        """On held-out images in the middle of a stage; sharded towers cannot be asked by one process."""
        if not self._held_out or not self._options.group.is_first or self._options.strategy == "shard":
            return {}
        self._latest = self._measured()
        return self._latest.figures()

    def stage(self, plan: StagePlan) -> None:
        """Train one stage, and do what comes after it."""
        if plan.image_size is not None:
            self._resize(plan.image_size)
        options, self._latest = self._options, None
        stage = open_stage(plan, self.towers, self.workshop, self._figures)
        learning = [parameter for parameter in self.towers.parameters() if parameter.requires_grad]
        self.say(f"stage {plan.name}: {sum(parameter.numel() for parameter in learning):,} parameters are trained")
        engine = Engine(device=options.device, group=options.group, strategy=options.strategy, piece=plan.piece)
        try:
            counters = run_stage(
                stage, plan.budget, plan.optimizer, self._out, self._log, resume=options.resume, engine=engine
            )
        finally:
            stage.towers.flush()
        if options.strategy == "shard":
            self.towers = whole_again(self.towers, plan, options.device)
        for tower in (self.towers.text, self.towers.vision):
            if tower is not None:
                release_tower(tower)
        if stage.towers.images is not None:
            for image, reason in stage.towers.images.failures.items():
                self.say(f"skipped {image}: {reason}")
        self._post_steps(plan, counters.step)

    def _resize(self, image_size: int) -> None:
        """Another image size from here on."""
        images = self.workshop.images
        if self.towers.vision is None or images is None:
            raise ConfigError(f"image_size = {image_size}, but this model has no image tower")
        self.towers.vision = resize_tower(self.towers.vision.cpu(), image_size).to(self._options.device)
        self.towers.config = replace(self.towers.config, vision=self.towers.vision.config)
        resized = ImagePreparer(replace(images.config, size=image_size), images.limits)
        self.workshop = replace(self.workshop, images=resized)

    @torch.no_grad()
    def _post_steps(self, plan: StagePlan, step: int) -> None:
        """Computed once: a run that is resumed takes what it kept, if no more steps were taken since."""
        if not plan.post_steps:
            return
        self._latest = None
        file = self._out / plan.name / f"post-steps-{step:08d}.safetensors"
        if not file.is_file():
            changed: dict[str, Tensor] = {}
            for settings in plan.post_steps:
                self.say(f"stage {plan.name}: {settings.kind}")
                towers = open_frozen(plan, self.towers, self.workshop)
                context = PostStepContext(self.towers, towers, self.workshop.sources, self._recipe.seed)
                with torch.enable_grad():
                    found = settings(context)
                changed |= found
                self._set(found)
            if self._options.group.is_first:
                with atomic_path(file) as unfinished:
                    save_file({name: tensor.cpu().contiguous() for name, tensor in changed.items()}, unfinished)
        else:
            self._set(load_file(file))

    def _set(self, tensors: NewTensors) -> None:
        state = self.towers.state_dict()
        for name, tensor in tensors.items():
            state[name].copy_(tensor)

    @torch.no_grad()
    def interpolate(self) -> None:
        """Move trained weights part of the way back to where they began (WiSE-FT, Wortsman et al. 2022)."""
        self._latest = None
        start = load_towers(self._start, adapters="live")
        if start.vision is not None and self.towers.vision is not None:
            start.vision = resize_tower(start.vision, self.towers.vision.config.image_size)
        interpolate(self.towers, start.to(self._options.device), self._recipe.interpolation)


@torch.no_grad()
def interpolate(towers: nn.Module, start: nn.Module, kept: float) -> None:
    """Move parameters part of the way back to where they began; ``kept`` of their change stays."""
    before = dict(start.named_parameters())
    for name, parameter in towers.named_parameters():
        parameter.lerp_(before[name], 1 - kept)


def whole_again(towers: DualEncoder, plan: StagePlan, device: torch.device) -> DualEncoder:
    """Towers whose parameters every process has whole again, after a stage that sharded them."""
    state = {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in towers.state_dict().items()
    }
    whole = DualEncoder(towers.config).to(towers.text.embeddings.norm.weight.dtype)
    prepare_tower(whole.text, plan.text)
    if whole.vision is not None:
        prepare_tower(whole.vision, plan.image)
    whole.load_state_dict(state, strict=True)
    return whole.to(device)
