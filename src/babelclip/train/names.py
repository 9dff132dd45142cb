"""What the trunk's classifier says, and the names of its 1,000 classes in every language that names enough of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.errors import DatasetError
from babelclip.towers.text import TextTower
from babelclip.train.data.texts import PROMPTS
from babelclip.train.features import FeatureStore
from babelclip.train.image_stage import NameTargets
from babelclip.train.text_bank import PSEUDO_LANGUAGES
from babelclip.train.text_vectors import text_vectors

IMAGENET = "in1k:"
LEAST_NAMES = 300


def name_targets(
    tower: TextTower, tokenizer: Tokenizer, labels: Mapping[str, Mapping[str, str]]
) -> Callable[[Tensor, Tensor], NameTargets]:
    """Name vectors per language (English first; mean of the plain name and the prompted one), to be joined with the
    classifier's classes and shares.

    Raises: DatasetError when the labels do not name ImageNet's classes in English.
    """
    by_language: dict[str, dict[int, str]] = {}
    for label, names in labels.items():
        if label.startswith(IMAGENET):
            for language, name in names.items():
                by_language.setdefault(language, {})[int(label.removeprefix(IMAGENET))] = name
    if len(by_language.get("en", {})) != 1000:
        raise DatasetError(f"labels name {len(by_language.get('en', {}))} of the 1000 ImageNet classes in English")
    chosen = ["en", *sorted(k for k, v in by_language.items() if k != "en" and len(v) >= LEAST_NAMES and k in PROMPTS)]
    vectors: list[tuple[Tensor, Tensor]] = []
    for language in (language for language in chosen if language not in PSEUDO_LANGUAGES):
        classes, names_of = zip(*sorted(by_language[language].items()), strict=True)
        plain = text_vectors(tower, tokenizer, names_of)
        prompted = text_vectors(tower, tokenizer, [PROMPTS[language].format(name) for name in names_of])
        vectors.append((torch.tensor(classes), F.normalize(plain + prompted, dim=1)))
    return lambda classes, shares: NameTargets(classes, shares, tuple(vectors))


def soft_labels(store: FeatureStore, top: int = 16) -> tuple[Tensor, Tensor]:
    """The classifier's likeliest classes (N, top) and their renormalised probabilities for each row of a store.

    It is asked about view 0, whole and sharp, of which the augmented views are to keep the name.
    """
    logits = torch.from_numpy(store.logits[store.views == 0]).float()
    best = F.softmax(logits, dim=1).topk(top, dim=1)
    photos = torch.from_numpy(store.photos)
    return best.indices[photos], (best.values / best.values.sum(dim=1, keepdim=True))[photos]
