"""Rotary positions (Su et al. 2021). The towers rotate differently: two functions, not one with a flag.

Text rotates the two halves of a head against each other along one axis; images rotate neighboring pairs along two.
"""

from __future__ import annotations

import torch
from torch import Tensor

VISION_ROTARY_BASE = 10000.0  # the same in every published EVA02


def text_rotary_table(length: int, head_width: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin for positions 0 to length-1, float32 (T, K/2)."""
    exponent = torch.arange(0, head_width, 2, dtype=torch.float32, device=device) / head_width  # K/2
    inverse_frequency = 1.0 / (base**exponent)  # K/2
    positions = torch.arange(length, dtype=torch.float32, device=device)  # T
    angles = torch.outer(positions, inverse_frequency)  # T K/2
    return angles.cos(), angles.sin()


def rotate_text(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first half of every head against the second: (B, N, T, K), two (T, K/2) -> (B, N, T, K)."""
    first, second = x.chunk(2, dim=-1)  # B N T K/2 each
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def vision_rotary_table(grid: int, pretrained_grid: int, head_width: int) -> tuple[Tensor, Tensor]:
    """cos and sin of every patch of a square grid, row-major, float32 (P, K): half for the row, half for the column.

    Coordinates are stretched onto the pretraining grid, so that another image size sees the same range of angles.
    """
    per_axis = head_width // 2
    frequency = 1.0 / (VISION_ROTARY_BASE ** (torch.arange(0, per_axis, 2, dtype=torch.float32) / per_axis))  # K/4
    coordinate = torch.arange(grid, dtype=torch.float32) / grid * pretrained_grid  # grid
    angles = torch.outer(coordinate, frequency).repeat_interleave(2, dim=-1)  # grid K/2, each angle twice in a row
    rows = angles[:, None, :].expand(grid, grid, per_axis)
    columns = angles[None, :, :].expand(grid, grid, per_axis)
    both = torch.cat((rows, columns), dim=-1).reshape(grid * grid, head_width)  # P K
    return both.cos(), both.sin()


def rotate_vision(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighboring pairs of every head: (B, N, P, K), two (P, K) -> (B, N, P, K)."""
    pairs = x.unflatten(-1, (-1, 2))  # B N P K/2 2
    turned = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)  # B N P K
    return x * cos.to(x.dtype) + turned * sin.to(x.dtype)
