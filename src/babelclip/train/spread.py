"""Training on several processes with PyTorch's own means: who has which rows, gathering, data parallel, sharding.

Every rank draws the same batch, encodes its share of the rows, gathers all vectors and computes the whole loss. So a
loss needs to know nothing of ranks, and what it gives is what one process would give. The price is the loss itself on
every rank, which is small beside the towers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
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

Spread = Literal["replicate", "shard"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    def share(self, number: int) -> slice:
        """This rank's rows of a batch of ``number``: whole rows in order, sizes differing by one at most.

        Raises:
            ConfigError: there are fewer rows than ranks.
        """
        if number < self.size:
            raise ConfigError(f"a batch of {number} rows cannot be shared by {self.size} processes")
        return slice(_start(number, self.rank, self.size), _start(number, self.rank + 1, self.size))


def _start(number: int, rank: int, size: int) -> int:
    return rank * (number // size) + min(rank, number % size)


@contextmanager
def open_ranks() -> Iterator[Ranks]:
    """The process group that torchrun has prepared, or one process alone where there is none."""
    if "RANK" not in os.environ or dist.is_initialized():
        yield current_ranks()
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend)
    try:
        yield current_ranks()
    finally:
        dist.destroy_process_group()


def current_ranks() -> Ranks:
    """Of the process group that is open; one process alone where none is."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Ranks()


def wait(ranks: Ranks) -> None:
    """Until all ranks are here."""
    if ranks.size > 1:
        dist.barrier()


class _Gather(torch.autograd.Function):
    """Rows of all ranks. Every rank computes the same loss of them, so each already has the whole gradient of its own
    rows and nothing is sent back; it is multiplied by the number of ranks because gradients are averaged over them."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, number: int, ranks: Ranks) -> Tensor:
        ctx.share, ctx.size = ranks.share(number), ranks.size
        longest = -(-number // ranks.size)
        padded = own.new_zeros((longest, *own.shape[1:]))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(ranks.size)]
        dist.all_gather(found, padded)
        shares = [Ranks(rank, ranks.size).share(number) for rank in range(ranks.size)]
        return torch.cat([rows[: share.stop - share.start] for rows, share in zip(found, shares, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.share] * ctx.size, None, None


def gather(own: Tensor, number: int, ranks: Ranks) -> Tensor:
    """All rows of a batch of ``number``, in order, with the gradient: (b, E) -> (number, E).

    Raises:
        ConfigError: ``own`` is not this rank's share.
    """
    share = ranks.share(number)
    if len(own) != share.stop - share.start:
        raise ConfigError(f"rank {ranks.rank} of {ranks.size} has {len(own)} rows of {number}, expected {share}")
    if ranks.size == 1:
        return own
    gathered: Tensor = _Gather.apply(own, number, ranks)  # type: ignore[no-untyped-call]
    return gathered


def gather_labels(own: Tensor, number: int, ranks: Ranks) -> Tensor:
    """The same for what is not learned: keys, scores. (b, ...) -> (number, ...)."""
    with torch.no_grad():
        return gather(own, number, ranks)


def spread(module: nn.Module, how: Spread, ranks: Ranks, shards: Iterable[nn.Module] = ()) -> nn.Module:
    """The module as it is trained: replicated (DDP) or sharded (FSDP2, ``shards``, parts of it, one by one)."""
    if how == "shard":
        if not dist.is_initialized():
            raise ConfigError("sharding needs a process group: start with torchrun, one process will do")
        for part in shards:
            fully_shard(part)
        fully_shard(module)
        return module
    return module if ranks.size == 1 else DistributedDataParallel(module, forward_sync_buffers=False)


@contextmanager
def without_sync(module: nn.Module) -> Iterator[None]:
    """Gradients are added up on each rank and sent by a later backward pass."""
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


def agree(value: float, ranks: Ranks) -> float:
    """Rank 0's value on every rank: clocks differ, and all ranks must stop at the same step."""
    if ranks.size == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)
