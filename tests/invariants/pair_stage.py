"""A small contrastive stage in float64 for the proofs of the engine: two towers, any of the losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from babelclip.towers.config import DualConfig, LinearPatchesConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer, start_vision
from babelclip.train import losses
from babelclip.train.batch import Batch, Part
from babelclip.train.spread import Ranks

ROWS, NEGATIVES, WIDTH = 7, 2, 16  # seven: two processes get shares of different size


def negatives_of(flat: Tensor) -> Tensor:
    """(B * K, E) -> (B, K, E)."""
    return flat.unflatten(0, (ROWS, NEGATIVES))


KEYS = torch.tensor([0, 1, 2, 0, 4, 5, 6])
SCORES = torch.tensor([0.1, 0.9, 0.4, 0.4, 0.0, 1.0, 0.7], dtype=torch.float64)
Compute = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Texts, images, negatives (flat), scale, bias -> loss."""

LOSSES: Mapping[str, Compute] = {
    "info_nce mean": lambda t, i, n, s, b: losses.symmetric_info_nce(i, t, KEYS, s),
    "info_nce sum": lambda t, i, n, s, b: losses.symmetric_info_nce(i, t, KEYS, s, directions="sum"),
    "hard negatives": lambda t, i, n, s, b: losses.hard_negative_info_nce(i, t, negatives_of(n), KEYS, s),
    "sigmoid": lambda t, i, n, s, b: losses.sigmoid_pairs(i, t, KEYS, s, b),
    "cosent": lambda t, i, n, s, b: losses.cosent(t, i, SCORES),
    "scores": lambda t, i, n, s, b: losses.score_divergence(
        i, negatives_of(n), torch.stack((SCORES, SCORES.flip(0)), 1), s
    ),
    "cosine": lambda t, i, n, s, b: losses.cosine_distance(t, i),
    "squared": lambda t, i, n, s, b: losses.squared_distance(t, i),
    "relational": lambda t, i, n, s, b: losses.relational(t, i, temperature=0.2),
    "matryoshka": lambda t, i, n, s, b: losses.matryoshka(
        lambda x, y: losses.symmetric_info_nce(x, y, KEYS, s), i, t, (4, 8, WIDTH), (1.0, 1.0, 2.0)
    ),
}


class PairHead(nn.Module):
    """Temperature and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))


class PairStage:
    """Texts, images and negative texts; batches depend on the step alone."""

    name = "pairs"
    rates: Mapping[str, float] = {}

    def __init__(self, loss: str) -> None:
        text = TextTowerConfig(
            vocab_size=40, width=WIDTH, num_layers=2, num_heads=2, hidden=24, embed_dim=WIDTH, rotary_base=1e4
        )
        vision = VisionTowerConfig(
            image_size=12, width=WIDTH, num_layers=2, head_width=8, hidden=20, pretrained_grid=3,
            patches=LinearPatchesConfig(size=4),
        )  # fmt: skip
        torch.manual_seed(0)
        self.module = DualEncoder(DualConfig(text=text, vision=vision, dims=(4, WIDTH)))
        start_transformer(self.module.text, deviation=0.2)
        assert self.module.vision is not None
        start_vision(self.module.vision, deviation=0.2)
        self.module.double()
        self.module.logit_scale = None  # temperatures are the head's
        self.head = PairHead()
        self._compute = LOSSES[loss]

    def draw(self, step: int, ranks: Ranks) -> Batch:
        generator = torch.Generator().manual_seed(step)
        texts = torch.randint(4, 40, (ROWS, 5), generator=generator)
        pixels = torch.randn(ROWS, 3, 12, 12, generator=generator, dtype=torch.float64)
        others = torch.randint(4, 40, (ROWS * NEGATIVES, 6), generator=generator)
        parts = (("text", texts), ("image", pixels), ("text", others))
        return Batch(tuple(Part(kind, (rows[ranks.share(len(rows))],), len(rows)) for kind, rows in parts))

    def encode(self, part: Part) -> Tensor:
        tower = self.module.text if part.kind == "text" else self.module.vision
        assert tower is not None
        vectors: Tensor = tower(*part.rows)
        return vectors

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        texts, images, negatives = vectors
        value = self._compute(texts, images, negatives, self.head.log_scale.exp(), self.head.bias)
        return value + 0 * (negatives.sum() + self.head.log_scale + self.head.bias), {}

    def evaluate(self) -> dict[str, float]:
        return {}
