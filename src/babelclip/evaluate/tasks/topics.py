"""Topic classification (SIB-200, Adelani et al. 2024) without training: which topic's name is nearest to a sentence?

The names are the English ones that the data carry, whatever the sentence's language: a sentence has to find its topic
across languages.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.metrics import best_ranks, hits_at, interval_of_mean
from babelclip.evaluate.read_table import read_table
from babelclip.evaluate.task import Score, TaskFacts, english_first

_COLUMNS = ("lang", "text", "topic")


class TopicClassification:
    """Accuracy over a parquet file with the columns lang, text and topic (its English name)."""

    def __init__(self, name: str, folder: Path, path: str) -> None:
        self._rows, file = read_table(folder, path, _COLUMNS)
        self._languages = sorted(set(self._rows["lang"]), key=english_first)
        self._topics = sorted(set(self._rows["topic"]))
        self.facts = TaskFacts(
            name=name,
            family="topics",
            data=(file,),
            settings={"sentences": len(self._rows["lang"]), "topics": self._topics, "languages": self._languages},
        )

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """Percent of sentences whose topic comes first, for every language."""
        vectors, names = encode.texts(self._rows["text"]), encode.texts(self._topics)
        index_of = {topic: index for index, topic in enumerate(self._topics)}
        wanted = np.array([index_of[topic] for topic in self._rows["topic"]], np.int64)
        hits = 100.0 * hits_at(best_ranks(vectors, names, wanted, np.arange(len(names))), 1)
        languages = np.array(self._rows["lang"])
        scores: list[Score] = []
        for language in self._languages:
            of = hits[languages == language]
            low, high = interval_of_mean(of, np.arange(len(of)), seed)
            scores.append(Score(language, "top1", float(of.mean()), len(of), low, high))
        return scores
