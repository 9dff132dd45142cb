"""What ``record.py`` wrote of one stage of the old trainer: figures, batches, labels and weights, read again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

Tensors = dict[str, Tensor]
WIDEST_INPUT = 2  # tensors that one input of the old trainer's has at most


@dataclass(frozen=True)
class RecordedInput:
    """Rows that went through a tower together."""

    kind: str  # "text" or "image"
    rows: tuple[Tensor, ...]
    number: int
    positions: Tensor | None  # that the image tower saw; None: all


@dataclass(frozen=True)
class RecordedStep:
    """One batch."""

    inputs: tuple[RecordedInput, ...]
    labels: Tensors


@dataclass(frozen=True)
class RecordedStage:
    """A stage of the old trainer, ``STEPS`` of its steps."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Settings and configurations."""
        found: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        return found

    @cached_property
    def figures(self) -> list[dict[str, float]]:
        """Loss, rate, gradient and figures of every step."""
        found: list[dict[str, float]] = json.loads((self.folder / "losses.json").read_text())
        return found

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def fixed(self) -> Tensors:
        """What all steps shared: names' vectors, the spread of tokens, ..."""
        return self._tensors("fixed")

    def before(self, where: str) -> Tensors:
        """State before the first step: of the ``module`` or of the ``head``, by its own names."""
        return _below(f"{where}.", self._tensors("initial"))

    @property
    def after(self) -> Tensors:
        """What was trained, after the last step."""
        return self._tensors("final")

    @property
    def average(self) -> Tensors:
        """The moving average of what was trained, named as ``after``; empty where there was none."""
        heads = self.before("head")
        average = self._tensors("average")
        return {f"{'head' if name in heads else 'module'}.{name}": tensor for name, tensor in average.items()}

    def step(self, number: int) -> RecordedStep:
        """One batch."""
        tensors = load_file(self.folder / "steps" / f"{number:02d}.safetensors")
        inputs = []
        for place, part in enumerate(self.meta["parts"][number]):
            names = (f"part.{place}.rows.{row}" for row in range(WIDEST_INPUT))
            rows = tuple(tensors[name] for name in names if name in tensors)
            inputs.append(RecordedInput(part["kind"], rows, part["number"], tensors.get(f"part.{place}.keep")))
        return RecordedStep(tuple(inputs), _below("label.", tensors))

    def _tensors(self, name: str) -> Tensors:
        file = self.folder / f"{name}.safetensors"
        return load_file(file) if file.is_file() else {}


def recorded_stages(home: Path) -> list[RecordedStage]:
    """All stages in a folder that ``record.py`` wrote."""
    return [RecordedStage(file.parent) for file in sorted(home.glob("*/meta.json"))]


def _below(beginning: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(beginning): tensor for name, tensor in tensors.items() if name.startswith(beginning)}
