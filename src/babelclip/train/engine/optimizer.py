"""What moves the parameters: groups and rates, the schedule, clipping, and their moving average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings:
    """AdamW (Loshchilov & Hutter 2019) with a linear warm-up and a cosine decay to zero."""

    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.03  # share of the budget
    clip: float = 1.0  # norm of the gradient
    average: float = 0.0  # decay of the parameters' moving average (EMA), which is then what is kept; 0: none


def learning_rate(settings: OptimizerSettings, progress: float) -> float:
    """Rate at a share of the budget. Torch's schedules count steps; a budget here may be minutes."""
    if progress < settings.warmup:
        return settings.learning_rate * max(progress, 1e-3) / settings.warmup
    decayed = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(decayed * math.pi))


def layer_rates(blocks: str, number: int, decay: float) -> dict[str, float]:
    """Rates that fall by ``decay`` from each block to the one below (ULMFiT, Howard & Ruder 2018), for ``rates``.

    Args:
        blocks: What the blocks' parameters begin with, such as ``text.blocks``.
        number: Of blocks.
        decay: From each block to the one below.
    """
    return {f"{blocks}.{block}.": decay ** (number - 1 - block) for block in range(number)}


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Groups for the optimizer: matrices decay; biases, norms and single numbers do not.

    Args:
        parameters: With their names; frozen ones are left out.
        weight_decay: Of matrices.
        rates: Beginning of a parameter's name -> its share of the learning rate; the longest beginning counts.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    longest_first = sorted(rates.items(), key=lambda rate: -len(rate[0]))
    for name, parameter in parameters:
        if parameter.requires_grad:
            share = next((rate for prefix, rate in longest_first if name.startswith(prefix)), 1.0)
            groups.setdefault((parameter.dim() >= 2, share), []).append(parameter)
    return [
        {"params": members, "weight_decay": weight_decay if decays else 0.0, "share": share}
        for (decays, share), members in groups.items()
    ]


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients down to a common norm of ``limit``; returns the norm before, 0-d.

    Torch's ``clip_grad_norm_`` takes sharded gradients or whole ones; here towers may be sharded while temperatures are
    whole, so the norms of both are put together before torch scales them.
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    sharded = [parameter for parameter in with_gradient if isinstance(parameter.grad, DTensor)]
    whole = [parameter for parameter in with_gradient if not isinstance(parameter.grad, DTensor)]
    norms: list[Tensor] = []
    for members in (sharded, whole):
        if members:
            norm = nn.utils.get_total_norm(parameter.grad for parameter in members if parameter.grad is not None)
            norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    total = torch.linalg.vector_norm(torch.stack(norms)) if len(norms) > 1 else norms[0]
    for members in (sharded, whole):
        nn.utils.clip_grads_with_norm_(members, limit, total)
    return total


class Average:
    """Exponential moving average of the trained parameters (Polyak & Juditsky 1992).

    Torch's ``AveragedModel`` copies a whole module; a stage may train a thousandth of one.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self._live = {name: parameter for name, parameter in parameters if parameter.requires_grad}
        self._decay = decay
        self.kept = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number ``step`` (from 1). Early on the average is shorter, so that it does not hold the start."""
        decay = min(self._decay, step / (step + 9))
        for name, parameter in self._live.items():
            self.kept[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average stands where the parameters do, for as long as the block lasts."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and parameters."""
        for name, parameter in self._live.items():
            live = parameter.detach().clone()
            parameter.copy_(self.kept[name])
            self.kept[name] = live
