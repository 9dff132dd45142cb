"""Attention as plain matrix products where texts or pictures are short and train on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch.nn.attention import SDPBackend, sdpa_kernel

SHORT = 128  # tokens; beyond, the square of scores would cost more memory than the fused kernel's backward costs time


def short_attention(device: str, tokens: int) -> AbstractContextManager[None]:
    """A context for a forward pass. On a CPU the backward of torch's fused kernel is slower than plain products for
    short rows: text steps of the small model took 2.4 times as long (lab/LOG.md)."""
    if device == "cpu" and tokens <= SHORT:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
