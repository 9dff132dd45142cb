"""Bitext mining (Tatoeba, Artetxe & Schwenk 2019): is a sentence's translation nearest among all of that language's?

For every language both ways. A sentence that occurs several times has several right answers: rows belong together when
their English is the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.metrics import best_ranks, hits_at, interval_of_mean
from babelclip.evaluate.read_table import read_table
from babelclip.evaluate.task import Score, TaskFacts

_COLUMNS = ("lang", "text", "en")


class BitextMining:
    """Accuracy over a parquet file with the columns lang, text (in that language) and en (its translation)."""

    def __init__(self, name: str, folder: Path, path: str) -> None:
        self._rows, file = read_table(folder, path, _COLUMNS)
        self._languages = sorted(set(self._rows["lang"]))
        self.facts = TaskFacts(
            name=name,
            family="bitext",
            data=(file,),
            settings={"pairs": len(self._rows["lang"]), "languages": self._languages},
        )

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """Percent of sentences whose translation comes first, to and from English, for every language."""
        texts, english = encode.texts(self._rows["text"] + self._rows["en"]).reshape(2, len(self._rows["lang"]), -1)
        languages = np.array(self._rows["lang"])
        scores: list[Score] = []
        for language in self._languages:
            of = np.flatnonzero(languages == language)
            _, owners = np.unique([self._rows["en"][row] for row in of], return_inverse=True)
            for metric, queries, pool in (("to_english", texts, english), ("from_english", english, texts)):
                hits = 100.0 * hits_at(best_ranks(queries[of], pool[of], owners, owners), 1)
                low, high = interval_of_mean(hits, owners, seed)
                scores.append(Score(language, metric, float(hits.mean()), len(hits), low, high))
        return scores
