"""Recognition by name: which of the names that a language has is nearest to a photo?

The vector of a name is the mean of its prompts' normalised vectors, normalised again (CLIP_benchmark; EVALUATION
3.1). A language competes among the names that it has, on the photos whose label it names. Labels that share a name
in a language stay apart: the earlier one wins, and photos of the other count as wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import DatasetError
from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.metrics import best_ranks, hits_at, interval_of_mean
from babelclip.evaluate.prompts import Choice, Templates, fill
from babelclip.evaluate.read_pack import Names, read_names, read_pack
from babelclip.evaluate.task import Score, TaskFacts

CUTOFFS = (1, 5)
LABELS = "labels.json.gz"


class NameRecognition:
    """Recognition over one labelled pack.

    Args:
        name: of the task.  folder, path: the pack is ``folder / path``.
        prefix: labels that compete, such as ``in1k:``.
        templates: key in CLIP_benchmark's template files, such as ``imagenet1k``.
        others: how many languages besides English; those with most names come first.
        english: all templates in English, or the plain ones. Other languages always use the plain ones.
        present: only the labels that occur in the pack compete (as in Imagenette, a part of ImageNet).
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        path: str,
        *,
        prefix: str,
        templates: str,
        others: int = 0,
        english: Choice = "all",
        present: bool = False,
    ) -> None:
        pack = read_pack(folder, path)
        names, names_file = read_names(folder, LABELS, prefix)
        source = Templates(folder, templates)
        occurring = {str(photo.record.get("label")) for photo in pack.photos}
        unknown = sorted(occurring - names.keys())
        if unknown:
            raise DatasetError(f"{path}: {len(unknown)} labels have no name in {LABELS}, such as {unknown[0]!r}")
        if present:
            names = {label: by_language for label, by_language in names.items() if label in occurring}
        self._photos = pack.photos
        self._names = names
        languages = ["en", *languages_with_most_names(names)[:others]]
        if len(languages) != others + 1:
            raise DatasetError(f"{LABELS} names {prefix} in {len(languages) - 1} languages besides en, not {others}")
        self._templates = {lang: source.choose(lang, english if lang == "en" else "plain") for lang in languages}
        self.facts = TaskFacts(
            name=name,
            family="names",
            data=(pack.file, names_file, *source.files),
            licences=pack.licences,
            settings={
                "photos": len(pack.photos),
                "labels": prefix,
                "present_only": present,
                "languages": languages,
                "names": [sum(language in by for by in names.values()) for language in languages],
                "templates": [len(self._templates[language]) for language in languages],
                "english_templates": english,
            },
        )

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """Top-1 and top-5 in percent, for every language."""
        photos = encode.images([photo.image for photo in self._photos], [photo.key for photo in self._photos])
        labels = [str(photo.record["label"]) for photo in self._photos]
        scores: list[Score] = []
        for language, templates in self._templates.items():
            named = [label for label, by_language in self._names.items() if language in by_language]
            place = {label: index for index, label in enumerate(named)}
            rows = [row for row, label in enumerate(labels) if label in place]
            if not rows:
                raise DatasetError(f"{self.facts.name}: no photo has a name in {language!r}")
            names = name_vectors(encode, [self._names[label][language] for label in named], templates)
            wanted = np.array([place[labels[row]] for row in rows], np.int64)
            ranks = best_ranks(photos[rows], names, wanted, np.arange(len(named)))
            for k in CUTOFFS:
                hits = 100.0 * hits_at(ranks, k)
                low, high = interval_of_mean(hits, np.arange(len(hits)), seed)
                scores.append(Score(language, f"top{k}", float(hits.mean()), len(hits), low, high))
        return scores


def languages_with_most_names(names: Names) -> list[str]:
    """Languages other than English, most names first; equal numbers by code."""
    counts: dict[str, int] = {}
    for by_language in names.values():
        for language in by_language:
            counts[language] = counts.get(language, 0) + 1
    counts.pop("en", None)
    return sorted(counts, key=lambda language: (-counts[language], language))


def name_vectors(encode: EncodeOnce, names: list[str], templates: list[str]) -> Vectors:
    """(len(names), dim): mean over templates of the normalised vectors, normalised again."""
    texts = [fill(template, name) for name in names for template in templates]
    vectors = encode.texts(texts).reshape(len(names), len(templates), -1)
    mean = vectors.mean(axis=1)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.maximum(length, 1e-12)).astype(np.float32)
