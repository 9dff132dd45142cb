"""Fit the text tower's projection to stored vectors: ridge regression of the targets on pooled tokens.

Take it after a stage that taught the tokens alone (``distill_tokens``): the projection then gives texts the vectors
that their targets have, as well as a linear map can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.train.post_steps.post_step import NewTensors, PostStepContext, sample


@dataclass(frozen=True, kw_only=True, slots=True)
class FitProjectionSettings:
    """What the recipe says about it, a ``PostStep``."""

    kind: Literal["fit_projection"]
    texts: tuple[str, ...]  # data of kind texts
    vectors: str  # data of kind vectors: of the texts' targets
    sample: int = 20_000  # texts
    ridge: float = 1e-3  # of the mean of the pooled tokens' squares

    def __call__(self, context: PostStepContext) -> NewTensors:
        """The projection's new weight.

        Raises:
            ConfigError: The text tower has no projection.
        """
        tower = context.model.text
        if tower.projection is None:
            raise ConfigError("fit_projection: this text tower has no projection")
        texts = [text for name in self.texts for text in context.sources.texts(name)]
        chosen = [texts[row] for row in sample(len(texts), self.sample, [context.seed, 12])]
        targets = context.sources.vectors(self.vectors).means([text.targets for text in chosen])
        # Vectors are the projection of pooled tokens, so a projection that does nothing gives these.
        weight = tower.projection.weight.detach().clone()
        pooled = _pooled(context, [text.text for text in chosen])
        return {"text.projection.weight": ridge(pooled, F.normalize(targets, dim=1), self.ridge).T.to(weight)}


def _pooled(context: PostStepContext, texts: list[str]) -> Tensor:
    tower = context.model.text
    projection, tower.projection = tower.projection, None
    try:
        return context.towers.uncached_text_vectors(context.towers.tokenize(texts))
    finally:
        tower.projection = projection


def ridge(inputs: Tensor, targets: Tensor, strength: float) -> Tensor:
    """The matrix M that brings inputs @ M closest to what is wanted: (N, D), (N, E) -> float32 (D, E)."""
    x, y = inputs.double(), targets.double()
    penalty = strength * x.pow(2).mean() * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y).float()
