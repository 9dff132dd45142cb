"""The texts that images are trained against: their vectors, what each means, and which image each belongs to."""

from __future__ import annotations

import random
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


def texts_of(
    record: PhotoRecord,
    extra: Mapping[str, Mapping[str, Sequence[str]]],
    names: Names,
    *,
    captions_per_language: int = 1,
    languages_per_name: int = 14,
) -> list[BankText]:
    """Captions of a photo in all its languages, or the name of its label, plain and in prompts.

    All English captions, but no more than ``captions_per_language`` of each other language and names in English and no
    more than ``languages_per_name`` others (another choice for each label): the text tower has to encode them all.
    """
    if record.kind == "caption":
        captions = photo_captions(record, extra)
        kept = {k: texts if k == "en" else texts[:captions_per_language] for k, texts in captions.items()}
        return [BankText(text, language, record.key) for language, texts in kept.items() for text in texts]
    named = {language: texts[0] for language, texts in record.captions.items() if language == "en" and texts}
    meaning = named["en"].lower() if named else record.key
    translated = {k: name for k, name in names.get(record.label or "", {}).items() if k not in PSEUDO_LANGUAGES}
    generator = random.Random(record.label)
    chosen = generator.sample(sorted(translated), min(languages_per_name, len(translated)))
    named |= {language: translated[language] for language in chosen}
    found: list[BankText] = []
    for language, name in named.items():
        found.append(BankText(name, language, meaning))
        if language in PROMPTS and len(name.split()) <= 5:
            found.append(BankText(PROMPTS[language].format(name), language, meaning))
    return found


@dataclass(frozen=True, slots=True)
class TextBank:
    """Distinct texts with their vectors, and for each photo the positions of its texts by language."""

    texts: tuple[BankText, ...]
    meanings: NDArray[np.int64]  # (M,) equal where the meaning is equal
    wordings: NDArray[np.int64]  # (M,) equal where the words are, whatever image they describe
    photo_texts: tuple[tuple[tuple[int, ...], ...], ...]  # photo -> language -> positions
    photo_english: tuple[tuple[int, ...], ...]  # photo -> positions of its English texts

    @classmethod
    def gather(
        cls, records: Sequence[PhotoRecord], extra: Mapping[str, Mapping[str, Sequence[str]]], names: Names
    ) -> TextBank:
        """Every text of every photo, each distinct one once."""
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
        wording: dict[str, int] = {}
        wordings = np.array([wording.setdefault(text.text, len(wording)) for text in texts])
        meanings = np.array([meaning[text.meaning] for text in texts])
        return cls(texts, meanings, wordings, tuple(by_photo), tuple(english))

    def draw(
        self, photos: NDArray[np.int64], generator: np.random.Generator, english_share: float
    ) -> NDArray[np.int64]:
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
