"""One step of training: encode, gather, loss, gradients; plain, or with gradient caching for batches beyond memory.

Gradient caching (Gao et al. 2021): all vectors are computed piece by piece without keeping what a gradient needs; the
loss of the whole batch gives the gradient of each vector; every piece is then encoded again and that gradient sent
through it. Costs one more forward pass, and the memory of one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from babelclip.train.batch import Batch, Part
from babelclip.train.spread import Ranks, gather, without_sync


class Encodes(Protocol):
    """What a step needs of a stage."""

    def encode(self, part: Part) -> Tensor:
        """Rows -> (B, E), with the gradient."""
        ...

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss of the whole batch, and figures for the log."""
        ...


class Forward(nn.Module):
    """A stage's encoding as one module with one forward, as DDP and FSDP2 want it."""

    def __init__(self, module: nn.Module, stage: Encodes) -> None:
        super().__init__()
        self.module = module
        self._stage = stage

    def forward(self, parts: Sequence[Part]) -> tuple[Tensor, ...]:
        return tuple(self._stage.encode(part) for part in parts)


def backward(
    forward: nn.Module, stage: Encodes, batch: Batch, ranks: Ranks, piece: int | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Add the batch's gradients to the parameters' and return its loss.

    piece: rows per forward pass on this rank; None: all at once.
    """
    most = max(-(-part.number // ranks.size) for part in batch.parts)  # the same on every rank
    count = 1 if piece is None else -(-most // piece)
    if count == 1:
        vectors = [gather(own, p.number, ranks) for own, p in zip(forward(batch.parts), batch.parts, strict=True)]
        loss, figures = stage.loss(vectors, batch)
        loss.backward()
        return loss.detach(), figures
    pieces = list(zip(*(part.pieces(count) for part in batch.parts), strict=True))
    states: list[Tensor] = []
    cached: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        for parts in pieces:
            states.append(torch.get_rng_state())
            cached.append(forward(parts))
    leaves = [torch.cat(vectors).requires_grad_(True) for vectors in zip(*cached, strict=True)]
    loss, figures = stage.loss([gather(v, p.number, ranks) for v, p in zip(leaves, batch.parts, strict=True)], batch)
    loss.backward()
    whole = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    gradients = [torch.tensor_split(gradient, count) for gradient in whole]
    for place, parts in enumerate(pieces):
        torch.set_rng_state(states[place])  # the same dropout as before
        with without_sync(forward) if place < count - 1 else nullcontext():
            again = zip(forward(parts), (gradient[place] for gradient in gradients), strict=True)
            learning = [(vectors, gradient) for vectors, gradient in again if vectors.requires_grad]
            torch.autograd.backward([v for v, _ in learning], [g for _, g in learning])  # a frozen tower's have none
    return loss.detach(), figures
