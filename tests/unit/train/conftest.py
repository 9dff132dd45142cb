"""What the tests of the stages share."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.train.loop import Stage
from babelclip.train.spread import Ranks

LossOf = Callable[[Stage, int], tuple[Tensor, dict[str, float]]]


@pytest.fixture
def loss_of() -> LossOf:
    """Loss and figures of a stage's batch of some number, on one process."""

    def compute(stage: Stage, step: int) -> tuple[Tensor, dict[str, float]]:
        batch = stage.draw(step, Ranks())
        return stage.loss([stage.encode(part) for part in batch.parts], batch)

    return compute


@pytest.fixture(scope="session")
def word_tokenizer() -> Tokenizer:
    """Words w0 to w39, a token each."""
    vocabulary = [*(["<s>", "<pad>", "</s>", "<unk>"]), *(f"▁w{number}" for number in range(40))]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    model = {"type": "Unigram", "unk_id": 3, "vocab": [[piece, -1.0] for piece in vocabulary], "byte_fallback": False}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    return Tokenizer.from_str(
        json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": space, "model": model, **parts})
    )
