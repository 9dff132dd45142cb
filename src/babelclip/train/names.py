"""What the trunk's classifier says, and the names of its 1,000 classes in every language that names enough of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.errors import DatasetError
from babelclip.towers.text import TextTower
from babelclip.train.data.texts import PROMPTS
from babelclip.train.features import FeatureStore
from babelclip.train.text_bank import PSEUDO_LANGUAGES
from babelclip.train.text_vectors import text_vectors

IMAGENET = "in1k:"
LEAST_NAMES = 300


@dataclass(frozen=True, slots=True)
class NameTargets:
    """What the trunk's classifier says about each photo, and the names' vectors in several languages."""

    logits: Tensor  # (photos, classes)
    names: tuple[tuple[Tensor, Tensor], ...]  # per language: (classes named there,), (as many, E)


def name_vectors(
    tower: TextTower, tokenizer: Tokenizer, labels: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[Tensor, Tensor], ...]:
    """``NameTargets.names``: English first; of each name the mean of the plain one and the prompted one.

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
    return tuple(vectors)


def photo_logits(store: FeatureStore) -> Tensor:
    """What the classifier says about each photo: (photos, classes).

    It is asked about view 0, whole and sharp, of which the augmented views are to keep the name.
    """
    return torch.from_numpy(store.logits[store.views == 0]).float()


def name_loss(
    vectors: Tensor,
    logits: Tensor,
    members: Tensor,
    names: Tensor,
    dims: Sequence[int],
    *,
    scale: float,
    order_weight: float,
) -> Tensor:
    """How far recognition by name in one language is from what the classifier says, mean over some widths.

    Cross-entropy between both probabilities, and one minus the correlation of all cosines with all logits (DIST, Huang
    et al. 2022): probabilities speak of the few likeliest classes, the order of all of them says much more about a
    photo. vectors: (B, E). logits: (B, classes). members: (M,) classes that the language names; names: (M, E).
    """
    shares, wanted = F.softmax(logits, dim=1)[:, members], logits[:, members]
    terms: list[Tensor] = []
    for dim in dims:
        cosines = F.normalize(vectors[:, :dim], dim=1) @ F.normalize(names[:, :dim], dim=1).T
        entropy = -(F.log_softmax(cosines * scale, dim=1) * shares).sum(dim=1).mean()
        terms.append(entropy + order_weight * (1 - correlation(cosines, wanted)).mean())
    return torch.stack(terms).mean()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, row by row: 2 x (B, M) -> (B,)."""
    first, second = (rows - rows.mean(dim=1, keepdim=True) for rows in (first, second))
    return F.cosine_similarity(first, second, dim=1)
