"""Sentence similarity (STS-B): rank correlation between people's scores and cosines, per language."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.metrics import interval_of_spearman, spearman
from babelclip.evaluate.read_table import read_table
from babelclip.evaluate.task import Score, TaskFacts, english_first

_COLUMNS = ("lang", "sentence1", "sentence2", "score")


class SentenceSimilarity:
    """Spearman over sentence pairs of a parquet file with the columns lang, sentence1, sentence2, score."""

    def __init__(self, name: str, folder: Path, path: str) -> None:
        self._rows, file = read_table(folder, path, _COLUMNS)
        self._languages = sorted(set(self._rows["lang"]), key=english_first)
        self.facts = TaskFacts(
            name=name,
            family="sts",
            data=(file,),
            settings={"pairs": len(self._rows["lang"]), "languages": self._languages},
        )

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """Spearman (-1..1) for every language."""
        first, second = encode.texts(self._rows["sentence1"] + self._rows["sentence2"]).reshape(
            2, len(self._rows["lang"]), -1
        )
        cosines = np.einsum("ne,ne->n", first, second)
        people = np.array(self._rows["score"], np.float64)
        languages = np.array(self._rows["lang"])
        scores: list[Score] = []
        for language in self._languages:
            of = languages == language
            value = spearman(people[of], cosines[of])
            low, high = interval_of_spearman(people[of], cosines[of], seed)
            scores.append(Score(language, "spearman", value, int(of.sum()), low, high))
        return scores
