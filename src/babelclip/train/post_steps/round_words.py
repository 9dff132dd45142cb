"""Round the word embeddings as int4 will hold them, so that what is trained afterwards sees them as they will be.

A file of its own, because a recipe names it, as it names the other post-steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from babelclip.checkpoint.quantized import dequantize_int4, quantize_int4
from babelclip.train.post_steps.post_step import NewTensors, PostStepContext


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundWordsSettings:
    """A ``PostStep`` without settings."""

    kind: Literal["round_words"]

    def __call__(self, context: PostStepContext) -> NewTensors:
        """The word embeddings' new weight."""
        weight = context.model.text.embeddings.word.weight.detach()
        rounded = torch.from_numpy(dequantize_int4(*quantize_int4(weight.cpu().numpy())))
        return {"text.embeddings.word.weight": rounded.to(weight)}
