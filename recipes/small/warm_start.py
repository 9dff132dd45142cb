"""A quick start for an image tower of fresh blocks: it begins near the best linear guess of what its photos mean."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.towers.eva02_vision import Eva02Block, Eva02VisionTower
from babelclip.towers.patches import ConvPatches

RIDGE = 0.03
CLASS_LENGTH = 16.0  # of a class's vector, where tokens have about 30


@torch.no_grad()
def start_from_pooled(tower: Eva02VisionTower, pooled: Tensor, targets: Tensor) -> None:
    """Let an image tower begin near what its photos mean.

    The projection becomes the ridge regression of targets on the trunk's features averaged over each photo, and the
    first block begins by giving CLS the mean of the projected tokens. What the blocks add beyond that starts near zero.

    Args:
        tower: Its blocks are fresh.
        pooled: (N, head width).
        targets: (N, E), of the tower's width.
    """
    projection = _patches(tower).projection
    features, mean = pooled.double(), pooled.double().mean(dim=0)
    centered = features - mean
    penalty = RIDGE * centered.pow(2).mean() * len(centered) * torch.eye(centered.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(centered.T @ centered + penalty, centered.T @ targets.double()).T
    scale = 1.0 / float((centered @ weight.T).std())  # tokens of about unit size, as a pre-norm block expects
    projection.weight.copy_((weight * scale).float())
    projection.bias.copy_((-(weight @ mean) * scale).float())
    first = tower.blocks[0]
    assert isinstance(first, Eva02Block), "blocks of an image tower"
    for linear in (first.attention.value, first.attention.out):
        linear.weight.copy_(torch.eye(tower.config.width))
    for block in tower.blocks:
        assert isinstance(block, Eva02Block), "blocks of an image tower"
        block.feed_forward.down.weight.mul_(0.1)


@torch.no_grad()
def start_classes(tower: Eva02VisionTower, weight: Tensor, bias: Tensor, names: Tensor) -> None:
    """The trunk's classifier, (classes, head width) and (classes,), and for each class its name's vector, (classes, E).

    The first block passes the mean of the tokens on to CLS and its output (``start_from_pooled``), so recognition by
    name begins near the classifier's own.
    """
    patches = _patches(tower)
    patches.classifier.weight.copy_(weight)
    patches.classifier.bias.copy_(bias)
    patches.class_embedding.weight.copy_(CLASS_LENGTH * F.normalize(names, dim=1).T)


def _patches(tower: Eva02VisionTower) -> ConvPatches:
    assert isinstance(tower.patches, ConvPatches), "the start has a convolutional trunk"
    return tower.patches
