"""Many token vectors to one.

A file of its own, because it is one idea, and a model may take another pooling.
"""

from __future__ import annotations

from torch import Tensor


def mean_pool(tokens: Tensor, is_token: Tensor) -> Tensor:
    """Mean over the tokens that are not padding: (B, T, D), (B, T) bool -> (B, D).

    A row of padding alone gives NaN, as in the published model; ``prepare`` never makes one.
    """
    weights = is_token.to(tokens.dtype)[:, :, None]  # B T 1
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)
