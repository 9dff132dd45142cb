"""Retrieval between captions and photos, both ways, per language.

Text to image: every caption that exists in a language is a query, the pool is all photos of the set.
Image to text: every photo with a caption in the language is a query, the pool is all captions in that language; a hit
is any of the photo's own captions among the first k (CLIP_benchmark's recall; docs/reference/evaluation.md#recall).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import DatasetError
from babelclip.evaluate.caption_sources import written_by
from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.metrics import Owners, best_ranks, hits_at, interval_of_mean
from babelclip.evaluate.read_pack import LABELS, Pack, read_names, read_pack
from babelclip.evaluate.task import Score, TaskFacts, english_first

_CUTOFFS = (1, 5, 10)


class CrossmodalRetrieval:
    """Retrieval over one captioned set.

    Args:
        name: of the task.
        pack: the photos.
        languages: only these; None for all that occur. One that does not occur is an error.

    Photos whose record says ``dup`` are left out altogether: their caption belongs to an earlier photo as well, so
    one of two right answers would count as wrong.
    """

    def __init__(self, name: str, pack: Pack, languages: Collection[str] | None = None) -> None:
        self._photos = [photo for photo in pack.photos if not photo.record.get("dup")]
        occurring = {language for photo in self._photos for language, texts in photo.captions.items() if texts}
        missing = sorted(set(languages or ()) - occurring)
        if missing or not occurring:
            raise DatasetError(f"{name} has no captions in {', '.join(missing) or 'any language'}")
        self._languages = sorted(occurring if languages is None else set(languages), key=english_first)
        self.facts = TaskFacts(
            name=name,
            family="crossmodal",
            data=pack.files,
            licenses=pack.licenses,
            settings={
                "photos": len(self._photos),
                "cutoffs": list(_CUTOFFS),
                "languages": self._languages,
                **written_by(self._photos, self._languages),
            },
        )

    @classmethod
    def of_pack(
        cls, name: str, folder: Path, path: str, languages: Collection[str] | None = None
    ) -> CrossmodalRetrieval:
        """Over the pack ``folder / path``."""
        return cls(name, read_pack(folder, path), languages)

    @classmethod
    def of_names(cls, name: str, folder: Path, path: str, prefix: str) -> CrossmodalRetrieval:
        """Over the pack ``folder / path``, the names of its labels in all their languages being the captions."""
        pack = read_pack(folder, path)
        names, names_file = read_names(folder, LABELS, prefix)
        photos = []
        for photo in pack.photos:
            captions = {language: [one] for language, one in names.get(str(photo.record.get("label")), {}).items()}
            photos.append(replace(photo, record={**photo.record, "captions": captions}))
        return cls(name, Pack((*pack.files, names_file), tuple(photos)))

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """R@1, R@5 and R@10 in percent, both ways, for every language."""
        images = encode.images([photo.image for photo in self._photos], [photo.key for photo in self._photos])
        texts: list[str] = []
        owners: list[int] = []
        spans: dict[str, slice] = {}
        for language in self._languages:
            start = len(texts)
            for index, photo in enumerate(self._photos):
                captions = photo.captions.get(language, [])
                texts += captions
                owners += [index] * len(captions)
            spans[language] = slice(start, len(texts))
        captions_vectors, owner_of = encode.texts(texts), np.array(owners, np.int64)
        scores: list[Score] = []
        for language, span in spans.items():
            scores += _scores(language, images, captions_vectors[span], owner_of[span], seed)
        return scores


def _scores(language: str, images: Vectors, texts: Vectors, owners: Owners, seed: int) -> list[Score]:
    all_photos = np.arange(len(images))
    captioned = np.unique(owners)
    ways = {
        "text_to_image": (best_ranks(texts, images, owners, all_photos), owners),
        "image_to_text": (best_ranks(images[captioned], texts, captioned, owners), captioned),
    }
    scores: list[Score] = []
    for way, (ranks, photos) in ways.items():
        for k in _CUTOFFS:
            hits = 100.0 * hits_at(ranks, k)
            low, high = interval_of_mean(hits, photos, seed)
            scores.append(Score(language, f"{way}_recall@{k}", float(hits.mean()), len(hits), low, high))
    return scores
