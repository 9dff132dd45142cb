"""Attention as plain matrix products, for short texts and pictures that train on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch.nn.attention import SDPBackend, sdpa_kernel


def short_attention() -> AbstractContextManager[None]:
    """A context for a forward pass. On a CPU the backward of torch's fused kernel is slower than plain products for
    rows of up to about a hundred tokens: text steps of the small model took 2.4 times as long (lab/LOG.md)."""
    return sdpa_kernel(SDPBackend.MATH)
