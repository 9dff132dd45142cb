"""The texts that images are trained against: their vectors, what each means, and which image each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from babelclip.train.data.shards import PhotoRecord
from babelclip.train.data.texts import PROMPTS, photo_captions

Names = Mapping[str, Mapping[str, str]]
"""Label -> language -> name."""

PSEUDO_LANGUAGES = frozenset({"en_alt"})


@dataclass(frozen=True, slots=True)
class BankText:
    """One text of an image. Texts with the same ``meaning`` are never negatives of each other."""

    text: str
    language: str
    meaning: str


def texts_of(record: PhotoRecord, extra: Mapping[str, Mapping[str, Sequence[str]]], names: Names) -> list[BankText]:
    """Captions of a photo in all its languages, or the name of its label, plain and in prompts."""
    if record.kind == "caption":
        captions = photo_captions(record, extra)
        return [BankText(t, language, record.key) for language, texts in captions.items() for t in texts]
    english = [text for text in record.captions.get("en", ())[:1]]
    meaning = english[0].lower() if english else record.key
    translated = dict(names.get(record.label or "", {}))
    named = {**{"en": text for text in english}, **translated}
    found: list[BankText] = []
    for language, name in named.items():
        if language in PSEUDO_LANGUAGES:
            continue
        found.append(BankText(name, language, meaning))
        if language in PROMPTS and len(name.split()) <= 5:
            found.append(BankText(PROMPTS[language].format(name), language, meaning))
    return found


@dataclass(frozen=True, slots=True)
class TextBank:
    """Distinct texts with their vectors, and for each photo the positions of its texts by language."""

    texts: tuple[BankText, ...]
    meanings: NDArray[np.int64]  # (M,) equal where the meaning is equal
    photo_texts: tuple[tuple[tuple[int, ...], ...], ...]  # photo -> language -> positions
    photo_english: tuple[tuple[int, ...], ...]  # photo -> positions of its English texts

    @classmethod
    def gather(cls, records: Sequence[PhotoRecord], extra: Mapping[str, Mapping[str, Sequence[str]]], names: Names) -> TextBank:
        position: dict[BankText, int] = {}
        meaning: dict[str, int] = {}
        by_photo: list[tuple[tuple[int, ...], ...]] = []
        english: list[tuple[int, ...]] = []
        for record in records:
            languages: dict[str, list[int]] = {}
            for text in texts_of(record, extra, names):
                meaning.setdefault(text.meaning, len(meaning))
                languages.setdefault(text.language, []).append(position.setdefault(text, len(position)))
            by_photo.append(tuple(tuple(places) for places in languages.values()))
            english.append(tuple(languages.get("en", ())))
        texts = tuple(position)
        return cls(texts, np.array([meaning[t.meaning] for t in texts]), tuple(by_photo), tuple(english))

    def draw(self, photos: NDArray[np.int64], generator: np.random.Generator, english_share: float) -> NDArray[np.int64]:
        """One text per photo: English with a given share, else of a language drawn evenly (UForm's balance)."""
        chosen = np.zeros(len(photos), dtype=np.int64)
        for place, photo in enumerate(photos):
            english, languages = self.photo_english[photo], self.photo_texts[photo]
            if english and generator.random() < english_share:
                options = english
            else:
                options = languages[int(generator.integers(len(languages)))]
            chosen[place] = options[int(generator.integers(len(options)))]
        return chosen

    def mean_vectors(self, vectors: Tensor) -> Tensor:
        """Per photo the mean of its languages' mean text vectors, unit length: (photos, E); zeros where it has none."""
        out = torch.zeros(len(self.photo_texts), vectors.shape[1])
        for photo, languages in enumerate(self.photo_texts):
            if languages:
                out[photo] = torch.stack([vectors[list(places)].mean(dim=0) for places in languages]).mean(dim=0)
        return F.normalize(out, dim=1)
