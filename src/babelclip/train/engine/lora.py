"""Low-rank adaptation (LoRA, Hu et al. 2022) of any Linear of a tower, merged into its weight at the end.

It is a parametrization of the weight, W + alpha / rank * B A, so a tower's own code runs as it is, also where it uses a
weight without calling its layer. What is written afterwards is a model like the one before.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from babelclip.errors import ConfigError


class LowRank(nn.Module):
    """W -> W + scaling * B A; B starts at zero, so at first nothing changes."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        drawn = torch.empty(rank, columns, dtype=weight.dtype)  # on the CPU: a seed begins the same on every device
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5))
        self.a = nn.Parameter(drawn.to(weight.device))
        self.b = nn.Parameter(torch.zeros(rows, rank, dtype=weight.dtype, device=weight.device))
        self.scaling = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scaling * (self.b @ self.a)


def add_lora(tower: nn.Module, rank: int, alpha: float) -> int:
    """Freeze a tower and give each of its Linears a low-rank update; returns how many parameters that trains.

    Raises:
        ConfigError: rank below 1, or a tower without Linears.
    """
    if rank < 1:
        raise ConfigError(f"the rank of LoRA must be at least 1, found {rank}")
    tower.requires_grad_(False)
    layers = [module for module in tower.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ConfigError(f"{type(tower).__name__} has no Linear that LoRA could change")
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
    return sum(parameter.numel() for parameter in tower.parameters() if parameter.requires_grad)


def merge_lora(tower: nn.Module) -> None:
    """Make the updates part of the weights; the tower is then as plain as before ``add_lora``."""
    for module in list(tower.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
