"""Which texts belong to a photo, and how one is drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from babelclip.train.data.shards import PhotoRecord
from babelclip.train.text_bank import TextBank, texts_of

NAMES = {"in1k:001": {"en": "goldfish", "de": "Goldfisch", "en_alt": "Carassius auratus", "xx": "zzz"}}
PHOTO = PhotoRecord("a", "s", "caption", "", {"en": ("a dog", "a black dog"), "de": ("ein Hund",)}, None)
FISH = PhotoRecord("b", "s", "label", "", {"en": ("goldfish",)}, "in1k:001")
SAME_FISH = PhotoRecord("c", "s", "label", "", {"en": ("Goldfish",)}, None)


def test_captions_mean_their_photo_and_fuller_lists_replace_those_of_the_record() -> None:
    texts = texts_of(PHOTO, {"a": {"de": ["ein Hund", "ein schwarzer Hund", "Hund"]}}, {})
    assert {text.meaning for text in texts} == {"a"}
    assert Counter(text.language for text in texts) == {"en": 2, "de": 1}


def test_labels_are_named_in_their_languages_plain_and_prompted() -> None:
    texts = {text.text for text in texts_of(FISH, {}, NAMES)}
    assert texts == {"goldfish", "a photo of a goldfish", "Goldfisch", "ein Foto von Goldfisch", "zzz"}


def test_equal_names_mean_the_same_whatever_the_data_set() -> None:
    bank = TextBank.gather([FISH, SAME_FISH], {}, NAMES)
    assert len(set(bank.meanings.tolist())) == 1


def test_languages_are_drawn_evenly_but_for_english() -> None:
    bank = TextBank.gather([PHOTO], {"a": {"fr": ["un chien"]}}, {})
    drawn = bank.draw(np.zeros(3000, dtype=np.int64), np.random.default_rng(0), english_share=0.4)
    shares = Counter(bank.texts[place].language for place in drawn)
    assert abs(shares["en"] / 3000 - (0.4 + 0.6 / 3)) < 0.04
    assert abs(shares["fr"] / 3000 - 0.2) < 0.04


def test_mean_vectors_weigh_languages_not_captions() -> None:
    bank = TextBank.gather([PHOTO], {}, {})
    vectors = torch.tensor([[1.0, 0.0] if text.language == "en" else [0.0, 1.0] for text in bank.texts])
    torch.testing.assert_close(bank.mean_vectors(vectors), torch.tensor([[0.5**0.5, 0.5**0.5]]))
