"""Single texts of like length in each step, for distillation: groups and languages have their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import ConfigError
from babelclip.train.data.length_buckets import LengthBucketSampler, row_weights, tokenize
from babelclip.train.data.texts import Text
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.objectives.objective import Context

HELD_OUT_TEXTS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDraw:
    """A mixture of texts by tokens: each source as often as its weight says."""

    sources: Mapping[str, float]
    token_budget: int = 4096  # of a step, padding included, all processes together
    language_temperature: float = 1.0  # 1: languages as often as they have texts; 0: all alike
    english_weight: float = 1.0  # multiplies the share of English, which other languages are pulled to

    def __post_init__(self) -> None:
        if not self.sources or self.token_budget < 1:
            raise ConfigError(f"a draw of texts needs sources and a token budget, found {self}")


class DrawnTexts:
    """Texts of several sources, tokenized, with what is held out of them.

    Held out are at most a twentieth, the same in every stage that draws the same sources, whatever its weights.

    Args:
        draw: Sources, weights, and how much a step takes.
        context: Of the stage.
    """

    def __init__(self, draw: TextDraw, context: Context) -> None:
        self._towers = context.towers
        of_sources = [(name, context.sources.texts(name)) for name in draw.sources]
        self.texts: list[Text] = [text for _, texts in of_sources for text in texts]
        groups = [name for name, texts in of_sources for _ in texts]
        words = [text.text for text in self.texts]
        self._table = tokenize(context.towers.texts, words, context.towers.max_tokens, context.towers.folder)
        languages = [text.language for text in self.texts]
        weights = row_weights(groups, languages, draw.sources, draw.language_temperature, draw.english_weight)
        self.held_out = held_out_rows(len(self.texts))
        weights[self.held_out] = 0.0
        seed = context.seed + next(context.draw_numbers)
        self._sampler = LengthBucketSampler(self._table.lengths, weights, draw.token_budget, seed)

    def draw(self, step: int) -> NDArray[np.int64]:
        """Numbers of a step's texts, of all processes."""
        return self._sampler.draw(step)

    def token_rows(self, numbers: NDArray[np.int64]) -> list[list[int]]:
        """Token ids of some texts."""
        return self._table.rows(numbers)

    def own(self, numbers: NDArray[np.int64], group: ProcessGroupInfo) -> list[list[int]]:
        """Token ids of this process's share of some texts."""
        return self.token_rows(numbers[group.share(len(numbers))])

    def held_out_batches(self, size: int = 64) -> list[NDArray[np.int64]]:
        """Held-out texts in groups of about ``size``, short ones first."""
        order = self.held_out[np.argsort(self._table.lengths[self.held_out], kind="stable")]
        return np.array_split(order, max(1, len(order) // size)) if len(order) else []


def held_out_rows(number: int) -> NDArray[np.int64]:
    """Row numbers that no objective trains on."""
    size = min(HELD_OUT_TEXTS, number // 20)
    return np.sort(np.random.default_rng([0, 7]).choice(number, size=size, replace=False))
