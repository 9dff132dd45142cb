"""What the tests of the stages share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
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
