"""Training on several processes with PyTorch's own means: who has which rows, gathering, data parallel, sharding.

Every process draws the same batch, encodes its share of the rows, gathers all vectors and computes the whole loss. So a
loss needs to know nothing of processes, and what it gives is what one process would give. The price is the loss itself
on every process, which is small beside the towers.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from babelclip.errors import ConfigError

Strategy = Literal["replicate", "shard"]


@dataclass(frozen=True, slots=True)
class ProcessGroupInfo:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, number: int) -> slice:
        """This process's rows of a batch: whole rows in order, sizes differing by one at most.

        Raises:
            ConfigError: There are fewer rows than processes.
        """
        if number < self.size:
            raise ConfigError(f"a batch of {number} rows cannot be shared by {self.size} processes")
        return slice(_start(number, self.rank, self.size), _start(number, self.rank + 1, self.size))


ONE_PROCESS = ProcessGroupInfo()


def _start(number: int, rank: int, size: int) -> int:
    return rank * (number // size) + min(rank, number % size)


@contextmanager
def open_process_group(device: torch.device) -> Iterator[ProcessGroupInfo]:
    """The process group that torchrun has prepared, or one process alone where there is none."""
    if "RANK" not in os.environ or dist.is_initialized():
        yield current_process_group()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield current_process_group()
    finally:
        dist.destroy_process_group()


def current_process_group() -> ProcessGroupInfo:
    """Of the process group that is open; one process alone where none is."""
    return ProcessGroupInfo(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ONE_PROCESS


def wait(group: ProcessGroupInfo) -> None:
    """Until all processes are here."""
    if group.size > 1:
        dist.barrier()


class _Gather(torch.autograd.Function):
    """Rows of all processes.

    Every process computes the same loss of them, so each already has the whole gradient of its own rows and nothing is
    sent back; it is multiplied by their number because gradients are averaged over them.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, number: int, group: ProcessGroupInfo) -> Tensor:
        ctx.share, ctx.size = group.share(number), group.size
        longest = -(-number // group.size)
        padded = own.new_zeros((longest, *own.shape[1:]))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(group.size)]
        dist.all_gather(found, padded)
        shares = [ProcessGroupInfo(rank, group.size).share(number) for rank in range(group.size)]
        return torch.cat([rows[: share.stop - share.start] for rows, share in zip(found, shares, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.share] * ctx.size, None, None


def gather(own: Tensor, number: int, group: ProcessGroupInfo) -> Tensor:
    """All rows of a batch of ``number``, in order, with the gradient: (b, ...) -> (number, ...).

    Raises:
        ConfigError: ``own`` is not this process's share.
    """
    share = group.share(number)
    if len(own) != share.stop - share.start:
        raise ConfigError(f"rank {group.rank} of {group.size} has {len(own)} rows of {number}, expected {share}")
    if group.size == 1:
        return own
    gathered: Tensor = _Gather.apply(own, number, group)  # type: ignore[no-untyped-call]
    return gathered


def gather_labels(own: Tensor, number: int, group: ProcessGroupInfo, device: torch.device) -> Tensor:
    """The same for what is not learned: keys, scores, targets. (b, ...) -> (number, ...) on the device."""
    with torch.no_grad():
        return gather(own.to(device), number, group)


def distribute(
    module: nn.Module,
    strategy: Strategy,
    group: ProcessGroupInfo,
    *,
    shards: Iterable[nn.Module] = (),
    whole: Collection[nn.Parameter] = (),
    uses_all: bool = True,
) -> nn.Module:
    """The module as it is trained: replicated (DDP) or sharded (FSDP2).

    Args:
        module: With one forward pass that everything trained goes through.
        strategy: "replicate" or "shard".
        group: The processes.
        shards: Parts of the module that are sharded one by one.
        whole: Parameters that every process keeps whole: frozen ones that also compute outside the forward pass.
        uses_all: Whether every step's forward pass reaches every trained parameter.

    Raises:
        ConfigError: Sharding without a process group.
    """
    if strategy == "shard":
        if not dist.is_initialized():
            raise ConfigError("sharding needs a process group: start with torchrun, one process will do")
        ignored = set(whole)
        for part in shards:
            fully_shard(part, ignored_params=ignored)
        fully_shard(module, ignored_params=ignored)
        return module
    if group.size == 1:
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, find_unused_parameters=not uses_all)


@contextmanager
def without_sync(module: nn.Module) -> Iterator[None]:
    """Gradients are added up on each process and sent by a later backward pass."""
    if isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    elif isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            module.set_requires_gradient_sync(True)
    else:
        yield


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Parameters of a sharded module stand whole for as long as the block lasts, so that its parts can be called.

    Every process enters and calls the same parts, for each of them may gather again what it lets go of.
    """
    sharded = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in sharded:
        part.unshard()
    try:
        yield
    finally:
        for part in sharded:
            part.reshard()


def broadcast_scalar(value: float, group: ProcessGroupInfo, device: torch.device) -> float:
    """The first process's value on every process: clocks differ, and all must stop at the same step."""
    if group.size == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)
