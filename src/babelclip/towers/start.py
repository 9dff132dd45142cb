"""Fresh weights for towers that are trained from nothing.

A file of its own, because a tower that is read from a file never needs it.
"""

from __future__ import annotations

from torch import nn

from babelclip.towers.vision import VisionTower


def start_transformer(module: nn.Module, deviation: float = 0.02) -> None:
    """Truncated normal weights and zero biases in every Linear and Embedding (BERT, Devlin et al. 2019)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=deviation)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)


def start_vision(tower: VisionTower, deviation: float = 0.02) -> None:
    """Blocks as ``start_transformer``; CLS and positions likewise; the patch embedding keeps its own."""
    for block in tower.blocks:
        start_transformer(block, deviation)
    nn.init.trunc_normal_(tower.cls_token, std=deviation)
    nn.init.trunc_normal_(tower.position_embedding, std=deviation)
