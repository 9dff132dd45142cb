"""Which device a run computes on: one choice at its start, from towers and batches to labels and stored vectors."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from babelclip.errors import ConfigError

KNOWN = ("cpu", "cuda", "mps")
SHORT = 128  # rows of at most so many tokens are short for attention on a CPU


def choose_device(name: str | None = None) -> torch.device:
    """The device of this process.

    Args:
        name: As torch calls it: "cpu", "cuda", "cuda:1", "mps"; None: the GPU where there is one, of several that of
            the process's LOCAL_RANK (torchrun), else the CPU.

    Raises:
        ConfigError: No such device here; the message says which there are.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: {str(error).splitlines()[0]}") from None
    if device.type not in KNOWN:
        raise ConfigError(f"device {name!r} is none to train on; known are {', '.join(KNOWN)}")
    if device.type == "cuda":
        number = torch.cuda.device_count()
        index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        if index >= number:
            raise ConfigError(f"device {name!r} asks for GPU {index}, found {number} here; --device cpu needs none")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not available here; --device cpu needs no GPU")
    return device


def describe(device: torch.device) -> str:
    """A device in words, for whoever started the run."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


@dataclass(frozen=True, slots=True)
class RandomState:
    """Where the random numbers of the CPU and of a device stand."""

    cpu: Tensor
    device: torch.device
    of_device: Tensor | None

    @classmethod
    def of(cls, device: torch.device) -> RandomState:
        of_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, of_device)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.of_device is not None:
            torch.cuda.set_rng_state(self.of_device, self.device)


def half(device: torch.device, *, enabled: bool) -> torch.autocast:
    """Forward passes in bfloat16 where that is safe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def attention_for(device: torch.device, tokens: int) -> AbstractContextManager[None]:
    """The kernels of attention that suit rows of a length.

    On a CPU the backward pass of torch's fused kernel is slower than plain products for rows of up to about a hundred
    tokens. Text steps of the small model took 2.4 times as long (lab/LOG.md).
    """
    everything = [SDPBackend.MATH, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION]
    return sdpa_kernel([SDPBackend.MATH] if device.type == "cpu" and tokens <= SHORT else everything)
