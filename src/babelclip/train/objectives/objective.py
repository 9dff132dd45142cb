"""An objective: one thing that a stage learns, with what it draws, its loss, its weight, and how often it is asked.

A stage has any number of them; each draws rows for the towers and labels, and gets back the rows' vectors. It knows
nothing of processes, pieces or devices: the engine gathers all vectors first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.train.data.image_sampler import DrawnImage
from babelclip.train.data.sources import Sources
from babelclip.train.engine.batch import TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.step import Figures
from babelclip.train.stage_towers import StageTowers


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSettings:
    """What the recipe says about any objective."""

    name: str
    weight: float = 1.0
    every: int = 1  # it is asked in one of so many steps

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"objective {self.name!r}: every must be at least 1, found {self.every}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """A mixture: rows of some of the recipe's data, each as often as its weight says."""

    sources: Mapping[str, float]
    batch: int  # rows of a step, of all processes together

    def __post_init__(self) -> None:
        if not self.sources or self.batch < 1:
            raise ConfigError(f"a draw needs sources and a batch of at least 1, found {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """Scale of cosines: learned from ``start`` and never above ``max``, or fixed at ``start``."""

    start: float = 14.3  # 1 / 0.07 (CLIP)
    learned: bool = True
    max: float = 100.0
    rate: float = 1.0  # share of the learning rate

    def __post_init__(self) -> None:
        if not 0 < self.start <= self.max:
            raise ConfigError(f"a temperature's start {self.start} must be above 0 and at most its max {self.max}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MatryoshkaSettings:
    """At which widths a loss is taken, and how much each weighs."""

    dims: tuple[int, ...] = ()  # none: the width of the vectors alone
    dim_weights: tuple[float, ...] = ()  # none: all the same

    def __post_init__(self) -> None:
        if self.dim_weights and len(self.dim_weights) != len(self.dims):
            raise ConfigError(f"dims {self.dims} and dim_weights {self.dim_weights} differ in length")


@dataclass(frozen=True, slots=True)
class DrawnImages:
    """Images of a step, for objectives that look at the same ones."""

    own: Sequence[DrawnImage]  # this process's share
    number: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an objective gives the towers in a step, and what its loss takes beside their vectors."""

    inputs: tuple[TowerInput, ...]
    labels: Any
    images: DrawnImages | None = None  # where ``inputs[0]`` are images, which others may share


class Objective(Protocol):
    """What a stage needs of an objective."""

    @property
    def settings(self) -> ObjectiveSettings: ...

    @property
    def head(self) -> nn.Module:
        """What its loss learns: a temperature."""
        ...

    @property
    def rates(self) -> Mapping[str, float]:
        """Beginning of the name of a parameter of its head -> share of the learning rate."""
        ...

    @property
    def towers(self) -> tuple[str, ...]:
        """Those that its vectors come from: "text", "image"."""
        ...

    @property
    def whole_towers(self) -> bool:
        """Whether all of them is used: tokens' states leave a tower before its projection."""
        ...

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """The rows of a step, a function of the step alone.

        Args:
            step: Of the stage.
            group: The processes.
            shared: What the objective drew whose images this one shares (``images_of``); None: it shares none.
        """
        ...

    def loss(self, vectors: Sequence[Tensor], labels: Any) -> tuple[Tensor, Figures]:
        """Loss of the whole batch, 0-d, and figures.

        Args:
            vectors: Of the images that it shares, if it does, and then of its own inputs: (number, E) each.
            labels: As drawn.
        """
        ...

    def evaluate(self) -> Figures:
        """Figures on what it holds out, if anything."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What objectives are made from."""

    towers: StageTowers
    sources: Sources
    seed: int
    draw_numbers: Iterator[int] = field(repr=False)  # so that every draw of a stage has a seed of its own

    @property
    def device(self) -> torch.device:
        return self.towers.device


class ScaledHead(nn.Module):
    """A temperature, and a bias where a loss judges pairs alone."""

    def __init__(self, temperature: Temperature, *, bias: bool = False) -> None:
        super().__init__()
        scale = torch.tensor(float(np.log(temperature.start)))
        self.log_scale = nn.Parameter(scale, requires_grad=temperature.learned)
        self.bias = nn.Parameter(torch.tensor(-10.0)) if bias else None
        self._max = float(np.log(temperature.max))

    def scale(self) -> Tensor:
        """The scale. What a step has moved above the maximum is set back to it, from where it can fall again."""
        with torch.no_grad():
            self.log_scale.clamp_(max=self._max)
        return self.log_scale.exp()


def key_of(text: str) -> int:
    """A number that is equal for equal texts, up to case and blanks at the ends."""
    digest = blake2b(text.strip().lower().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def keys_of(*kinds: Sequence[str]) -> Tensor:
    """What rows mean, in one or several ways, as numbers: (B, Y) int64, for ``losses.same_key``."""
    return torch.tensor([[key_of(one) for one in row] for row in zip(*kinds, strict=True)], dtype=torch.int64)


def by_width_figures(name: str, dims: Sequence[int], terms: Tensor) -> dict[str, Tensor]:
    """A loss at each of several widths, for the log."""
    return {f"{name} {dim}": term.detach() for dim, term in zip(dims, terms, strict=True)} if len(dims) > 1 else {}
