"""What of a tower a stage trains: all of it, its upper part, a low-rank update (LoRA), or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.towers.patches import ConvPatches, InvertedResidual
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.engine.device import attention_for
from babelclip.train.engine.lora import add_lora, merge_lora
from babelclip.train.engine.optimizer import layer_rates


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerPlan:
    """What of a tower is trained."""

    train: Literal["full", "lora", "frozen"] = "full"
    rank: int = 8  # of LoRA
    alpha: float = 16.0
    frozen_blocks: int = 0  # so many of the lowest blocks, and what lies below them; of a trunk: of its own blocks
    layer_decay: float = 1.0  # of the learning rate, from each block to the one below
    rates: Mapping[str, float] = field(default_factory=dict)  # name's beginning -> share of the rate; 0: frozen
    checkpoint: bool = False  # gradient checkpointing: blocks are computed twice, their inner values not kept

    def __post_init__(self) -> None:
        if self.train != "full":
            for name, value, plain in (
                ("layer_decay", self.layer_decay, 1.0),
                ("frozen_blocks", self.frozen_blocks, 0),
                ("rates", dict(self.rates), {}),
            ):
                if value != plain:
                    raise ConfigError(f"train = {self.train!r} and {name} = {value} contradict each other")
        if self.frozen_blocks < 0:
            raise ConfigError(f"frozen_blocks must be at least 0, found {self.frozen_blocks}")

    def all_rates(self, prefix: str, tower: TextTower | VisionTower) -> dict[str, float]:
        """Shares of the learning rate by the beginning of a parameter's name in the model."""
        rates = layer_rates(f"{prefix}.blocks", len(tower.blocks), self.layer_decay)
        return rates | {f"{prefix}.{name}": rate for name, rate in self.rates.items() if rate}


def prepare_tower(tower: TextTower | VisionTower, plan: TowerPlan) -> int:
    """Freeze, adapt or open a tower; returns how many of its parameters are trained.

    Raises:
        ConfigError: The plan names blocks or parameters that the tower has not.
    """
    if plan.train == "lora":
        trained = add_lora(tower, plan.rank, plan.alpha)
    else:
        tower.requires_grad_(plan.train == "full")
        _freeze_below(tower, plan.frozen_blocks)
        _freeze_rates_of_zero(tower, plan.rates)
        trained = sum(parameter.numel() for parameter in tower.parameters() if parameter.requires_grad)
    if plan.checkpoint:
        _checkpoint_blocks(tower)
    return trained


def release_tower(tower: TextTower | VisionTower) -> None:
    """Undo what ``prepare_tower`` added, so that another stage can prepare the tower anew; what was learned stays."""
    merge_lora(tower)
    for block in tower.blocks:
        block.__dict__.pop("forward", None)  # the checkpointed one; the class's own is found again


def _freeze_below(tower: TextTower | VisionTower, number: int) -> None:
    if not number:
        return
    patches = tower.patches if isinstance(tower, VisionTower) else None
    blocks = patches.trunk.blocks if isinstance(patches, ConvPatches) else tower.blocks
    if number > len(blocks):
        raise ConfigError(f"frozen_blocks = {number}, but this tower has {len(blocks)} blocks")
    if isinstance(patches, ConvPatches):
        _freeze_trunk(patches, number)
        return
    if isinstance(tower, TextTower):
        tower.embeddings.requires_grad_(False)
    else:
        tower.patches.requires_grad_(False)
        for parameter in tower.before_blocks():
            parameter.requires_grad_(False)
    blocks[:number].requires_grad_(False)


def _freeze_trunk(patches: ConvPatches, number: int) -> None:
    """Freeze a trunk below some block, or whole with its classifier.

    Depthwise filters stay frozen everywhere: their gradient costs more than everything else together.
    """
    trunk = patches.trunk
    trunk.requires_grad_(False)
    if number == len(trunk.blocks):
        if patches.has_classes:
            patches.classifier.requires_grad_(False)
        return
    trunk.head.requires_grad_(True)
    for upper in trunk.blocks[number:]:
        assert isinstance(upper, InvertedResidual)
        upper.requires_grad_(True)
        upper.depthwise.requires_grad_(False)


def _freeze_rates_of_zero(tower: nn.Module, rates: Mapping[str, float]) -> None:
    names = [name for name, _ in tower.named_parameters()]
    for beginning, rate in rates.items():
        if not any(name.startswith(beginning) for name in names):
            raise ConfigError(f"rates names {beginning!r}, with which no parameter of this tower begins")
        if rate == 0:
            for name, parameter in tower.named_parameters():
                if name.startswith(beginning):
                    parameter.requires_grad_(False)


def _checkpoint_blocks(tower: TextTower | VisionTower) -> None:
    """Blocks forget their inner values and compute them again for the gradient (Chen et al. 2016)."""
    for block in tower.blocks:
        block.forward = _again(block.forward)


def _again(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def attend(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
        with attention_for(x.device, x.shape[1]):  # the same kernel when it is computed again, far from the step
            return forward(x, *arguments, **options)

    def run(*arguments: Any, **options: Any) -> Tensor:
        found: Tensor = torch.utils.checkpoint.checkpoint(attend, *arguments, use_reentrant=False, **options)
        return found

    return run
