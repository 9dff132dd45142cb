"""Features of photos that nobody took: stored ones, moved from what they show to another of the classifier's classes.

Training photos show few of the thousand classes that the trunk's classifier knows, but its weights know them all. A few
steps uphill on the logarithm of a class's probability turn a photo's features into some that the classifier takes for
that class: what activation maximisation (Erhan et al. 2009) does to pixels, done to features, where it is one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

HIGHEST = 6.0  # of the trunk's features, which end in ReLU6


@dataclass(frozen=True, slots=True)
class ClassMoves:
    """The classifier of pooled features, and in how many steps they are moved."""

    weight: Tensor  # (classes, head width)
    bias: Tensor  # (classes,)
    steps: int = 3

    def logits(self, pooled: Tensor) -> Tensor:
        """What the classifier says of photos: (B, C) -> (B, classes)."""
        return F.linear(pooled, self.weight, self.bias)

    def move(self, pooled: Tensor, wanted: Tensor, strength: Tensor) -> Tensor:
        """Photos on their way to other classes: pooled features (B, C) -> (B, C).

        wanted: (B,) classes. strength: (B,), how long a step is where nothing of the wanted class is seen yet, as a
        share of the length of the photo's features.
        """
        rows = self.weight - self.weight.mean(dim=0)
        length = pooled.norm(dim=1) / rows.norm(dim=1).mean()
        pace = (strength * length)[:, None]
        for _ in range(self.steps):
            uphill = rows[wanted] - F.softmax(self.logits(pooled), dim=1) @ rows  # of log p(wanted)
            pooled = (pooled + pace * uphill).clamp(0.0, HIGHEST)
        return pooled


def carry(tokens: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Tokens whose mean is ``before``, changed so that it is ``after``: (B, P, C), (B, C), (B, C) -> (B, P, C).

    What a channel loses is taken from each position in proportion to what it has there, so nothing falls below zero;
    what it gains is given to all alike.
    """
    kept = (after / before.clamp(min=1e-6)).clamp(max=1.0)
    gained = (after - before).clamp(min=0.0)
    return (tokens * kept[:, None] + gained[:, None]).clamp(max=HIGHEST)
