"""What one step of training reads: rows for the towers, and labels for the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from babelclip.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that go through a tower together: token ids, pixels, stored maps.

    A rank holds its own share of the rows (``babelclip.train.spread``); ``number`` counts those of all ranks.
    """

    kind: str
    rows: tuple[Tensor, ...]  # each (B, ...), the same B
    number: int
    keep: Tensor | None = None  # positions that the image tower sees, the same for all rows; None: all

    def pieces(self, count: int) -> list[Part]:
        """The rows cut into ``count`` parts of about the same size, in order.

        Raises:
            ConfigError: there are fewer rows than pieces.
        """
        if len(self.rows[0]) < count:
            raise ConfigError(f"{len(self.rows[0])} rows of {self.kind} cannot be cut into {count} pieces")
        cut = [torch.tensor_split(array, count) for array in self.rows]
        return [Part(self.kind, rows, self.number, self.keep) for rows in zip(*cut, strict=True)]


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts, in the order in which the stage's loss takes their vectors; labels speak of the whole batch."""

    parts: tuple[Part, ...]
    labels: Any = None
