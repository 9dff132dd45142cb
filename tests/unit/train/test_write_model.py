"""What is shipped as int8 and what is not."""

from __future__ import annotations

import torch

from babelclip.checkpoint.weights import SCALE_SUFFIX
from babelclip.train.write_model import SMALL_FILTER, TRUNK, shipped_tensors


def test_small_filters_of_the_trunk_stay_floats() -> None:
    tensors = {
        f"{TRUNK}stem.weight": torch.randn(4, 3, 3, 3),
        f"{TRUNK}stem.bias": torch.randn(4),
        f"{TRUNK}head.weight": torch.randn(SMALL_FILTER // 8 + 1, 8, 1, 1),
        "text.blocks.0.norm1.weight": torch.randn(8),
        "text.projection.weight": torch.randn(4, 8),
    }
    stored = {name: str(t.dtype) for name, t in shipped_tensors(tensors, int4_words=False).items()}
    assert stored[f"{TRUNK}stem.weight"] == "F16"
    assert stored[f"{TRUNK}stem.bias"] == "F32"
    for name in (f"{TRUNK}head.weight", "text.projection.weight"):
        assert stored[name] == "int8"
        assert name + SCALE_SUFFIX in stored
