"""Pixels to tokens: square patches through one Linear (published), or a convolutional trunk (small models)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from babelclip.towers.config import ConvStage, ConvTrunkConfig, LinearPatchesConfig


class LinearPatches(nn.Module):
    """Non-overlapping patches; pixel rows and columns that fill no whole patch are never seen, as published."""

    def __init__(self, config: LinearPatchesConfig, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, kernel_size=config.size, stride=config.size, bias=bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, P, D), row-major."""
        return self.projection(pixels).flatten(2).transpose(1, 2)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: at stride 2 the odd pixel goes right and below."""

    def __init__(self, in_width: int, out_width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_width, out_width, kernel, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        top, bottom = _same_padding(height, self.kernel_size[0], self.stride[0])
        left, right = _same_padding(width, self.kernel_size[1], self.stride[1])
        if top == bottom and left == right:  # symmetric: the convolution pads by itself
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), groups=self.groups)
        padded = F.pad(x, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, so that the output has ceil(size / stride) positions."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018), with ReLU6 after the first two."""

    def __init__(self, in_width: int, out_width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_width * expansion
        self.expand = SameConv(in_width, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv(inner, out_width, 1)
        self.is_residual = stride == 1 and in_width == out_width

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self._filter(inner)))
        return x + out if self.is_residual else out

    def _filter(self, inner: Tensor) -> Tensor:
        """At stride 2 in float32, where autocast is on: the bfloat16 gradient takes 14 times as long on a CPU."""
        if self.depthwise.stride[0] == 1 or inner.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return self.depthwise(inner)
        with torch.autocast("cpu", enabled=False):
            return self.depthwise(inner.float())


def _stage_blocks(in_width: int, stage: ConvStage) -> list[InvertedResidual]:
    first = InvertedResidual(in_width, stage.width, stage.kernel, stage.stride, stage.expansion)
    rest = [
        InvertedResidual(stage.width, stage.width, stage.kernel, 1, stage.expansion) for _ in range(stage.repeats - 1)
    ]
    return [first, *rest]


class ConvTrunk(nn.Module):
    """EfficientNet-Lite up to its 1x1 head, batch norms folded into the convolutions."""

    def __init__(self, config: ConvTrunkConfig) -> None:
        super().__init__()
        self.stem = SameConv(3, config.stem_width, 3, stride=2)
        width = config.stem_width
        blocks: list[InvertedResidual] = []
        for stage in config.stages:
            blocks.extend(_stage_blocks(width, stage))
            width = stage.width
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(width, config.head_width, 1)

    def feature_map(self, pixels: Tensor, stop: int | None = None) -> Tensor:
        """Before the head, or after the first ``stop`` blocks: (B, 3, S, S) -> (B, C, H, W)."""
        return self.through(F.relu6(self.stem(pixels)), 0, stop)

    def through(self, x: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Some of the blocks, by number: (B, C, H, W) -> (B, C', H', W')."""
        for block in self.blocks[start:stop]:
            x = block(x)
        return x

    def tokens_from(self, maps: Tensor, start: int, positions: Tensor | None = None) -> Tensor:
        """The head's output at some positions (None: all), after maps that the first ``start`` blocks gave.

        (B, C, H, W) -> (B, P, head_width). The head is a Linear at each position, so it is computed there alone.
        """
        features = self.through(maps, start).flatten(2)
        if positions is not None:
            features = features[:, :, positions]
        return F.relu6(F.linear(features.transpose(1, 2), self.head.weight.flatten(1), self.head.bias))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, head_width, S/32, S/32)."""
        return F.relu6(self.head(self.feature_map(pixels)))


class ConvPatches(nn.Module):
    """The trunk's last feature map as tokens, and in each of them what the trunk's classifier says of the picture.

    A projection of features is linear, and the answer to "which of a thousand things" is not: with the classifier's
    probabilities, each class has a vector of its own that the tokens carry (measured in
    lab/LOG.md#2026-11-28-later-captions-learn-from-still-images-and-the-trunks-classifier-joins-the-tower).
    """

    def __init__(self, config: ConvTrunkConfig, width: int) -> None:
        super().__init__()
        self.trunk = ConvTrunk(config)
        self.projection = nn.Linear(config.head_width, width)
        if config.classes:
            self.classifier = nn.Linear(config.head_width, config.classes)
            self.class_embedding = nn.Linear(config.classes, width, bias=False)
        self.has_classes = config.classes > 0

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, P, D), row-major."""
        return self.from_features(self.trunk(pixels))

    def from_features(self, features: Tensor) -> Tensor:
        """The trunk's output, perhaps stored: (B, head_width, H, W) -> (B, P, D)."""
        return self.from_tokens(features.flatten(2).transpose(1, 2))

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """The same at some positions, or of regions: (B, P, head_width) -> (B, P, D)."""
        patches: Tensor = self.projection(tokens)
        if not self.has_classes:
            return patches
        shares = F.softmax(self.classifier(tokens.mean(dim=1)), dim=-1)
        return patches + self.class_embedding(shares)[:, None]


def make_patches(config: LinearPatchesConfig | ConvTrunkConfig, width: int) -> LinearPatches | ConvPatches:
    if isinstance(config, LinearPatchesConfig):
        return LinearPatches(config, width)
    return ConvPatches(config, width)
