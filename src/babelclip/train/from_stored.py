"""The image tower from the trunk's stored outputs on (``babelclip.train.features``), and its warm start."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.towers.patches import ConvPatches
from babelclip.towers.vision import VisionBlock, VisionTower


def trunk_tokens(tower: VisionTower, maps: Tensor, block: int, keep: Tensor | None) -> Tensor:
    """Maps stored after the trunk's first ``block`` blocks -> the head's output, (B, P, head width).

    keep: positions (ascending) that are wanted, None for all.
    """
    return _conv_patches(tower).trunk.tokens_from(maps, block, keep)


def encode_tokens(tower: VisionTower, tokens: Tensor, keep: Tensor | None) -> Tensor:
    """The head's output at some positions (None: all), (B, P, head width) -> (B, E)."""
    return tower.encode_tokens(_conv_patches(tower).from_tokens(tokens), keep, cls_only=True)


def region_places(grid: int) -> Tensor:
    """The positions that stand for the four regions of a `FeatureStore`: about the middle of each, (4,) int64."""
    near = (-(-grid // 2) - 1) // 2
    far = grid - 1 - near
    return torch.tensor([row * grid + column for row in (near, far) for column in (near, far)])


@torch.inference_mode()
def start_from_pooled(tower: VisionTower, regions: Tensor, targets: Tensor, ridge: float = 0.03) -> None:
    """A warm start: the projection is the ridge regression of the targets (N, E) on pooled features, and the first
    block begins by giving CLS the mean of the projected tokens. What the blocks add beyond that starts near zero.

    regions: (N, 4, head width), stored.
    """
    projection = _conv_patches(tower).projection
    pooled = regions.double().mean(dim=1)
    centred = pooled - pooled.mean(dim=0)
    penalty = ridge * centred.pow(2).mean() * len(pooled) * torch.eye(pooled.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ targets.double()).T
    scale = 1.0 / float((centred @ weight.T).std())  # tokens of about unit size, as a pre-norm block expects
    projection.weight.copy_((weight * scale).float())
    projection.bias.copy_((-(weight @ pooled.mean(dim=0)) * scale).float())
    first = tower.blocks[0]
    assert isinstance(first, VisionBlock)
    for linear in (first.attention.value, first.attention.out):
        linear.weight.copy_(torch.eye(tower.config.width))
    for block in tower.blocks:
        assert isinstance(block, VisionBlock)
        block.feed_forward.down.weight.mul_(0.1)


@torch.no_grad()
def start_classes(tower: VisionTower, weight: Tensor, bias: Tensor, names: Tensor, strength: float = 16.0) -> None:
    """The trunk's classifier, (classes, head width) and (classes,), and for each class its name's vector, (classes, E).

    The first block passes the mean of the tokens on to CLS and its output (``start_from_pooled``), so recognition by
    name begins near the classifier's own. strength: length of a class's vector, where tokens have about 30.
    """
    patches = _conv_patches(tower)
    patches.classifier.weight.copy_(weight)
    patches.classifier.bias.copy_(bias)
    patches.class_embedding.weight.copy_(strength * F.normalize(names, dim=1).T)


def _conv_patches(tower: VisionTower) -> ConvPatches:
    assert isinstance(tower.patches, ConvPatches), "what is stored comes from a convolutional trunk"
    return tower.patches
