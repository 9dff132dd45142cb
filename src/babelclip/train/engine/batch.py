"""What one step of training reads: inputs for the towers, and labels for the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

InputKind = Literal["text", "text tokens", "image", "image features", "vectors"]
"""Token ids for one vector a text, or for the states of all its tokens; crops; the output of a frozen lower part of the
image tower; vectors of a tower that is frozen whole."""


@dataclass(frozen=True, slots=True)
class TowerInput:
    """Rows that go through a tower together.

    A process holds its own share of the rows (``babelclip.train.engine.distributed``); ``number`` counts those of all.
    """

    kind: InputKind
    rows: tuple[Tensor, ...]  # each (B, ...), the same B
    number: int
    positions: Tensor | None = None  # that the image tower sees, ascending, the same for all rows; None: all

    def pieces(self, count: int) -> list[TowerInput]:
        """The rows cut into ``count`` pieces of about the same size, in order.

        Where there are fewer rows than pieces, the first ones are empty: every process sends every input through the
        towers as often, and the last piece, which gradients are sent with, has rows of every input.
        """
        few, left = divmod(len(self.rows[0]), count)
        sizes = [few] * (count - left) + [few + 1] * left
        cut = zip(*(array.split(sizes) for array in self.rows), strict=True)
        return [TowerInput(self.kind, rows, self.number, self.positions) for rows in cut]

    def to(self, device: torch.device) -> TowerInput:
        """The same on a device."""
        moved: TowerInput = move(self, device)
        return moved


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs, in the order in which the stage's loss takes their vectors; labels speak of the whole batch."""

    inputs: tuple[TowerInput, ...]
    labels: Any = None

    def to(self, device: torch.device) -> Batch:
        """Everything of it on one device."""
        return Batch(move(self.inputs, device), move(self.labels, device))


def move(value: Any, device: torch.device) -> Any:
    """A value with every tensor inside it, through tuples, lists, mappings and dataclasses, on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple | list):
        return type(value)(move(one, device) for one in value)
    if isinstance(value, Mapping):
        return {name: move(one, device) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: move(getattr(value, field.name), device) for field in fields(value)})
    return value
