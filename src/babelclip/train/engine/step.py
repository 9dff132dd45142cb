"""One step: encode, gather, loss, gradients; plain, or with gradient caching for batches beyond memory.

Gradient caching (Gao et al. 2021): all vectors are computed piece by piece without keeping what a gradient needs; the
loss of the whole batch gives the gradient of each vector; every piece is then encoded again and that gradient sent
through it. Costs one more forward pass, and the memory of one piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from babelclip.train.engine.batch import Batch, TowerInput
from babelclip.train.engine.device import RandomState
from babelclip.train.engine.distributed import ProcessGroupInfo, gather, without_sync

Figures = Mapping[str, Tensor | float]
"""For the log; tensors are read only when they are written, for reading one waits for a GPU."""


class Encodable(Protocol):
    """What a step needs of a stage."""

    def encode(self, rows: TowerInput) -> Tensor:
        """Rows -> (B, E), with the gradient."""
        ...

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Figures]:
        """Loss of the whole batch, and figures for the log."""
        ...


class Forward(nn.Module):
    """A stage's encoding as one module with one forward, as DDP and FSDP2 want it."""

    def __init__(self, module: nn.Module, stage: Encodable) -> None:
        super().__init__()
        self.module = module
        self._stage = stage

    def forward(self, inputs: Sequence[TowerInput]) -> tuple[Tensor, ...]:
        return tuple(self._stage.encode(rows) for rows in inputs)


def backward(
    forward: nn.Module, stage: Encodable, batch: Batch, group: ProcessGroupInfo, piece: int | None = None
) -> tuple[Tensor, Figures]:
    """Add the batch's gradients to the parameters' and return its loss.

    Args:
        forward: A ``Forward`` of the stage, perhaps distributed.
        stage: What encodes, and whose loss it is.
        batch: This process's share of the rows, labels of all.
        group: The processes.
        piece: Rows per forward pass on this process; None: all at once.
    """
    longest = max(-(-rows.number // group.size) for rows in batch.inputs)  # the same on every process
    count = 1 if piece is None else -(-longest // piece)
    if count == 1:
        vectors = [gather(own, x.number, group) for own, x in zip(forward(batch.inputs), batch.inputs, strict=True)]
        loss, figures = stage.loss(vectors, batch)
        loss.backward()
        return loss.detach(), figures
    pieces = list(zip(*(rows.pieces(count) for rows in batch.inputs), strict=True))
    states: list[RandomState] = []
    cached: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        for inputs in pieces:
            states.append(RandomState.of(batch.inputs[0].rows[0].device))
            cached.append(forward(inputs))
    leaves = [torch.cat(vectors).requires_grad_(True) for vectors in zip(*cached, strict=True)]
    loss, figures = stage.loss([gather(v, x.number, group) for v, x in zip(leaves, batch.inputs, strict=True)], batch)
    loss.backward()
    whole = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    sizes = [[len(vectors) for vectors in of_input] for of_input in zip(*cached, strict=True)]
    gradients = [gradient.split(some) for gradient, some in zip(whole, sizes, strict=True)]
    for number, inputs in enumerate(pieces):
        states[number].restore()  # the same dropout as before
        with without_sync(forward) if number < count - 1 else nullcontext():
            again = zip(forward(inputs), (gradient[number] for gradient in gradients), strict=True)
            learning = [(vectors, gradient) for vectors, gradient in again if vectors.requires_grad]
            torch.autograd.backward([v for v, _ in learning], [g for _, g in learning])  # a frozen tower's have none
    return loss.detach(), figures
