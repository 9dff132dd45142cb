"""The image tower from the trunk's stored outputs on (``babelclip.train.features``), and its warm start."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.towers.patches import ConvPatches, ConvTrunk, InvertedResidual
from babelclip.towers.vision import VisionBlock, VisionTower


def trunk_tokens(tower: VisionTower, maps: Tensor, block: int, keep: Tensor | None) -> Tensor:
    """Maps stored after the trunk's first ``block`` blocks -> the head's output, (B, P, head width).

    keep: positions (ascending) that are wanted, None for all.
    """
    trunk = _conv_patches(tower).trunk
    features = _through(trunk, maps, block).flatten(2)
    if keep is not None:
        features = features[:, :, keep]
    return F.relu6(F.linear(features.transpose(1, 2), trunk.head.weight.flatten(1), trunk.head.bias))


def _through(trunk: ConvTrunk, x: Tensor, start: int) -> Tensor:
    """``trunk.through``, but stride-2 filters in float32: their bfloat16 gradient takes 14 times as long on a CPU."""
    for block in trunk.blocks[start:]:
        assert isinstance(block, InvertedResidual)
        inner = x if block.expand is None else F.relu6(block.expand(x))
        with torch.autocast("cpu", enabled=False) if block.depthwise.stride[0] > 1 else nullcontext():
            filtered = block.depthwise(inner.float() if block.depthwise.stride[0] > 1 else inner)
        out = block.project(F.relu6(filtered))
        x = x + out if block.is_residual else out
    return x


def encode_tokens(tower: VisionTower, tokens: Tensor, keep: Tensor | None) -> Tensor:
    """The head's output at some positions (None: all), (B, P, head width) -> (B, E).

    Only CLS leaves the last block, so only CLS is computed there.
    """
    positions: Tensor = tower.position_embedding
    cos, sin = tower.rotary_cos, tower.rotary_sin
    if keep is not None:
        cos, sin = cos[keep], sin[keep]
        positions = torch.cat((positions[:, :1], positions[:, 1:][:, keep]), dim=1)
    patches = _conv_patches(tower).from_tokens(tokens)
    x = torch.cat((tower.cls_token.expand(len(tokens), -1, -1), patches), dim=1) + positions
    *first, last = tower.blocks
    for block in first:
        x = block(x, cos, sin)
    assert isinstance(last, VisionBlock)
    vectors: Tensor = tower.norm(_cls_through(last, x, cos, sin)[:, 0])
    return vectors


def region_places(grid: int) -> Tensor:
    """The positions that stand for the four regions of a `FeatureStore`: about the middle of each, (4,) int64."""
    near = (-(-grid // 2) - 1) // 2
    far = grid - 1 - near
    return torch.tensor([row * grid + column for row in (near, far) for column in (near, far)])


def _cls_through(block: VisionBlock, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """A block's output at CLS alone: (B, 1+P, D) -> (B, 1, D)."""
    attention, normed = block.attention, block.norm1(x)
    query = attention._heads(F.linear(normed[:, :1], attention.query.weight, attention.query_bias))
    key = attention._rotate(attention._heads(F.linear(normed, attention.key.weight)), cos, sin)
    value = attention._heads(F.linear(normed, attention.value.weight, attention.value_bias))
    mixed = F.scaled_dot_product_attention(query, key, value)
    cls: Tensor = x[:, :1] + attention.out(attention.inner_norm(mixed.transpose(1, 2).flatten(2)))
    out: Tensor = cls + block.feed_forward(block.norm2(cls))
    return out


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
