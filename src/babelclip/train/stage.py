"""The one kind of stage: towers of which something learns, and a list of objectives that it learns from at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.train.engine.batch import Batch, TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.step import Figures
from babelclip.train.objectives.objective import Drawn, Objective
from babelclip.train.stage_towers import StageTowers


@dataclass(frozen=True, slots=True)
class DrawnObjective:
    """An objective of one step: where its vectors stand among the batch's, and its labels."""

    number: int  # of the objective
    start: int
    stop: int
    shared: int | None  # the input whose images it shares
    labels: Any


class Stage:
    """A ``Trainable`` (``babelclip.train.engine.loop``).

    Args:
        name: Of the stage.
        towers: Prepared: what learns of them requires a gradient.
        objectives: In the order in which they are drawn; one that shares images stands behind the other.
        rates: Beginning of a tower's parameter's name -> share of the learning rate.
        measure: Figures on held-out images.
    """

    def __init__(
        self,
        name: str,
        towers: StageTowers,
        objectives: Sequence[Objective],
        rates: Mapping[str, float] | None = None,
        measure: Callable[[], Figures] = dict,
    ) -> None:
        self.name, self.towers, self._objectives, self._measure = name, towers, tuple(objectives), measure
        self.head = nn.ModuleDict(
            {"objectives": nn.ModuleDict({one.settings.name: one.head for one in self._objectives})}
        )
        of_heads = {
            f"objectives.{one.settings.name}.{beginning}": rate
            for one in self._objectives
            for beginning, rate in one.rates.items()
        }
        self.rates: Mapping[str, float] = {**(rates or {}), **of_heads}
        idle = set(towers.learns) - {tower for one in self._objectives for tower in one.towers}
        if idle:
            raise ConfigError(
                f"stage {name!r}: no objective reaches the {' and the '.join(sorted(idle))} tower, which is to learn; "
                "give it train = 'frozen'"
            )
        self._check_shared_images()

    def _check_shared_images(self) -> None:
        """A contrast of texts draws no images; the recipe alone does not tell, because the data decide."""
        of_name = {one.settings.name: one for one in self._objectives}
        for one in self._objectives:
            wanted = getattr(one.settings, "images_of", "")
            if wanted and of_name[wanted].towers[0] != "image":
                raise ConfigError(
                    f"stage {self.name!r}: {one.settings.name!r} has images_of = {wanted!r}, which draws no images "
                    "first; put its draw of captioned_images first, or give images"
                )

    @property
    def module(self) -> nn.Module:
        return self.towers.model

    def draw(self, step: int, group: ProcessGroupInfo) -> Batch:
        """What the objectives that are asked in this step draw."""
        inputs: list[TowerInput] = []
        asked: list[DrawnObjective] = []
        drawn: dict[str, tuple[Drawn, int]] = {}
        for number, objective in enumerate(self._objectives):
            if step % objective.settings.every:
                continue
            shared, shared_input = drawn.get(getattr(objective.settings, "images_of", ""), (None, None))
            found = objective.draw(step, group, shared)
            start = len(inputs)
            inputs += found.inputs
            asked.append(DrawnObjective(number, start, len(inputs), shared_input, found.labels))
            drawn[objective.settings.name] = found, start
        return Batch(tuple(inputs), tuple(asked))

    def encode(self, rows: TowerInput) -> Tensor:
        """Rows -> (B, E), with the gradient."""
        return self.towers.encode(rows)

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Figures]:
        """Weighted sum of the objectives' losses; figures by objective."""
        figures: dict[str, Tensor | float] = {}
        total = torch.zeros((), dtype=vectors[0].dtype, device=vectors[0].device)
        for asked in batch.labels:
            objective = self._objectives[asked.number]
            shared = () if asked.shared is None else (vectors[asked.shared],)
            loss, told = objective.loss((*shared, *vectors[asked.start : asked.stop]), asked.labels)
            total = total + objective.settings.weight * loss
            figures |= {objective.settings.name: loss.detach(), **told}
        return total, figures

    def evaluate(self) -> Figures:
        """Of every objective, and on held-out images."""
        figures: dict[str, Tensor | float] = {}
        for objective in self._objectives:
            figures |= objective.evaluate()
        return figures | dict(self._measure())

    def shards(self) -> list[nn.Module]:
        """The blocks of the towers that learn."""
        towers = {"text": self.towers.model.text, "image": self.towers.model.vision}
        learning = (towers[name] for name in self.towers.learns)
        return [block for tower in learning if tower is not None for block in tower.blocks]

    def whole(self) -> list[nn.Parameter]:
        """Frozen parameters that every process keeps whole.

        Those below the cut and of a frozen text tower, because their outputs are computed outside the step; and the
        model's own temperature, which no stage trains and which has no dimension to be sharded along.
        """
        model = self.towers.model
        parts = [*self.towers.frozen_modules(), *([model.text] if self.towers.text_is_frozen else [])]
        scale = [] if model.logit_scale is None else [model.logit_scale]
        return [*scale, *(parameter for part in parts for parameter in part.parameters())]

    @property
    def uses_all(self) -> bool:
        """Whether every step's forward pass reaches every trained parameter."""
        always = [one for one in self._objectives if one.settings.every == 1]
        reached = {tower for one in always if one.whole_towers for tower in one.towers}
        has_pooler = self.towers.model.text.pooler is not None  # stored by some models, and used by no vector
        return set(self.towers.learns) <= reached and not (has_pooler and "text" in self.towers.learns)
