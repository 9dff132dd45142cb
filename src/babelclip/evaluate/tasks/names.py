"""Recognition by name: which of the names that a language has is nearest to a photo?

The vector of a name is the mean of its prompts' normalized vectors, normalized again (CLIP_benchmark;
docs/reference/evaluation.md#names). A language competes among the names that it has, on the photos whose label it
names. Labels that share a name in a language stay apart: the earlier one wins, and photos of the other count as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import DatasetError
from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.metrics import best_ranks, hits_at, interval_of_mean
from babelclip.evaluate.prompts import Choice, Templates, fill_template
from babelclip.evaluate.read_pack import LABELS, NamesByLabel, Pack, read_names, read_pack
from babelclip.evaluate.task import DataFile, Score, Setting, TaskFacts

_CUTOFFS = (1, 5)


class NameRecognition:
    """Recognition over one labeled set.

    Args:
        name: of the task.
        pack: photos whose records have a ``label``.
        names: label -> language -> name, of all labels that compete.
        templates: language -> templates with ``{}`` for the name; the languages that are measured, in order.
        files: that names and templates were read from.
        settings: facts about how they were chosen.
    """

    def __init__(
        self,
        name: str,
        pack: Pack,
        names: NamesByLabel,
        templates: Mapping[str, list[str]],
        *,
        files: Sequence[DataFile] = (),
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        unknown = sorted({str(photo.record.get("label")) for photo in pack.photos} - names.keys())
        if unknown:
            raise DatasetError(f"{name}: {len(unknown)} labels of photos have no name, such as {unknown[0]!r}")
        self._photos, self._names, self._templates = pack.photos, names, templates
        self.facts = TaskFacts(
            name=name,
            family="names",
            data=(*pack.files, *files),
            licenses=pack.licenses,
            settings={
                "photos": len(pack.photos),
                "languages": list(templates),
                "names": [sum(language in by for by in names.values()) for language in templates],
                "templates": [len(chosen) for chosen in templates.values()],
                **(settings or {}),
            },
        )

    @classmethod
    def of_pack(
        cls,
        name: str,
        folder: Path,
        path: str,
        *,
        prefix: str,
        templates: str,
        others: int = 0,
        english: Choice = "all",
        present: bool = False,
    ) -> NameRecognition:
        """Over the pack ``folder / path``.

        Args:
            prefix: labels that compete, such as ``in1k:``.
            templates: key in CLIP_benchmark's template files, such as ``imagenet1k``.
            others: how many languages besides English; those with most names come first.
            english: all templates in English, or the plain ones. Other languages always use the plain ones.
            present: only the labels that occur in the pack compete (as in Imagenette, a part of ImageNet).
        """
        pack = read_pack(folder, path)
        names, names_file = read_names(folder, LABELS, prefix)
        source = Templates(folder, templates)
        if present:
            occurring = {photo.record.get("label") for photo in pack.photos}
            names = {label: by_language for label, by_language in names.items() if label in occurring}
        languages = ["en", *languages_with_most_names(names)[:others]]
        if len(languages) != others + 1:
            raise DatasetError(f"{LABELS} names {prefix} in {len(languages) - 1} languages besides en, not {others}")
        chosen = {lang: source.choose(lang, english if lang == "en" else "plain") for lang in languages}
        settings: dict[str, Setting] = {"labels": prefix, "present_only": present, "english_templates": english}
        return cls(name, pack, names, chosen, files=(names_file, *source.files), settings=settings)

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """Top-1 and top-5 in percent, for every language."""
        photos = encode.images([photo.image for photo in self._photos], [photo.key for photo in self._photos])
        labels = [str(photo.record["label"]) for photo in self._photos]
        scores: list[Score] = []
        for language, templates in self._templates.items():
            named = [label for label, by_language in self._names.items() if language in by_language]
            index_of = {label: index for index, label in enumerate(named)}
            rows = [row for row, label in enumerate(labels) if label in index_of]
            if not rows:
                raise DatasetError(f"{self.facts.name}: no photo has a name in {language!r}")
            names = name_vectors(encode, [self._names[label][language] for label in named], templates)
            wanted = np.array([index_of[labels[row]] for row in rows], np.int64)
            ranks = best_ranks(photos[rows], names, wanted, np.arange(len(named)))
            for k in _CUTOFFS:
                hits = 100.0 * hits_at(ranks, k)
                low, high = interval_of_mean(hits, np.arange(len(hits)), seed)
                scores.append(Score(language, f"top{k}", float(hits.mean()), len(hits), low, high))
        return scores


def languages_with_most_names(names: NamesByLabel) -> list[str]:
    """Languages other than English, most names first; equal numbers by code."""
    counts: dict[str, int] = {}
    for by_language in names.values():
        for language in by_language:
            counts[language] = counts.get(language, 0) + 1
    counts.pop("en", None)
    return sorted(counts, key=lambda language: (-counts[language], language))


def name_vectors(encode: EncodeOnce, names: list[str], templates: list[str]) -> Vectors:
    """(len(names), dim): mean over templates of the normalized vectors, normalized again."""
    texts = [fill_template(template, name) for name in names for template in templates]
    vectors = encode.texts(texts).reshape(len(names), len(templates), -1)
    mean = vectors.mean(axis=1)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.maximum(length, 1e-12)).astype(np.float32)
