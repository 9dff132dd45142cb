"""The space that both towers are trained into: the teacher's vectors, centered, weighted and turned.

E5's vectors bunch in a narrow cone (cosines 0.7 to 1.0), so their mean is taken out first. Captions of one photo say
the same thing in other words: directions in which *they* differ matter less to an image, so these are shrunk (a
softened linear discriminant, Fisher 1936). At last the axes are turned to principal components, so that prefixes carry
most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from babelclip.errors import DatasetError
from babelclip.train.linear_map import LinearMap
from corpus import Corpus
from packs import PhotoRecord

KINDS: Mapping[str, tuple[str, ...]] = {
    "captions": ("multi30k_captions", "photo_captions"),
    "names": ("concept_imagenet", "concept_emoji_cldr", "concept_territory_cldr"),
    "prompted names": ("concept_imagenet_prompt", "concept_emoji_cldr_prompt", "concept_territory_cldr_prompt"),
    "sentences": ("ntrex", "sib200_flores", "udhr"),
}
"""Kinds of text that the space is fitted on, in like shares, and the groups that have them."""
CAPTIONS_OF_A_PHOTO = 4  # fewer say little about what differs among captions of one photo


def space_of(
    corpus: Corpus, vectors: Tensor, records: Sequence[PhotoRecord], held_out: frozenset[str], strength: float
) -> LinearMap:
    """The space of a corpus.

    Args:
        vectors: The teacher's, one for each of ``corpus.english``: (N, E).
        records: Photos, whose English captions tell what differs among captions of one photo.
        held_out: Ids of photos that are left out.

    Raises:
        DatasetError: a kind of text is missing, or no photo has enough captions.
    """
    place = {text: number for number, text in enumerate(corpus.english)}
    samples: list[Tensor] = []
    for kind, groups in KINDS.items():
        places = {place[row.targets[0]] for row in corpus.rows if row.language == "en" and row.group in groups}
        if not places:
            raise DatasetError(f"no English {kind} in the training texts (groups {', '.join(groups)})")
        samples.append(vectors[sorted(places)])
    captioned = (record for record in records if record.kind == "caption" and record.id not in held_out)
    english = [texts for record in captioned if len(texts := record.captions.get("en", ())) >= CAPTIONS_OF_A_PHOTO]
    if not english:
        raise DatasetError(f"no photo has {CAPTIONS_OF_A_PHOTO} English captions, which the space is fitted on")
    within = vectors[[place[text] for texts in english for text in texts]]
    groups_of = torch.tensor([number for number, texts in enumerate(english) for _ in texts])
    return fit_target_space(samples, groups_of, within, strength=strength)


def fit_target_space(samples: Sequence[Tensor], groups: Tensor, within: Tensor, *, strength: float) -> LinearMap:
    """Fit a space.

    Args:
        samples: Kinds of text (captions, names, sentences), each (N, E), weighing the same whatever their number.
        groups: (M,) int64, which photo each of ``within`` describes.
        within: (M, E) captions.
        strength: 0 leaves the teacher's geometry, 1 would whiten the differences among captions of one photo.

    Raises:
        DatasetError: the strength is not in 0..1.
    """
    if not 0 <= strength <= 1:
        raise DatasetError(f"strength of the discriminant must be 0..1, got {strength}")
    mean = torch.stack([sample.float().mean(dim=0) for sample in samples]).mean(dim=0)
    scatter = _within_scatter(within.float(), groups)
    values, axes = torch.linalg.eigh(scatter)
    values = values + 0.1 * values.mean()  # shrinkage: rare directions are not blown up
    weighting = axes @ torch.diag(values.pow(-strength / 2)) @ axes.T
    spread = torch.stack([torch.cov(((sample.float() - mean) @ weighting).T) for sample in samples]).mean(dim=0)
    _, turned = torch.linalg.eigh(spread)
    matrix = weighting @ turned.flip(1)  # eigh sorts upwards; the largest comes first here
    return LinearMap(mean, matrix / matrix.norm() * matrix.shape[0] ** 0.5)


def _within_scatter(vectors: Tensor, groups: Tensor) -> Tensor:
    """Covariance of the differences between a vector and the mean of its group."""
    number = int(groups.max()) + 1
    sums = torch.zeros(number, vectors.shape[1]).index_add_(0, groups, vectors)
    counts = torch.bincount(groups, minlength=number).clamp(min=1)[:, None]
    differences = vectors - (sums / counts)[groups]
    return differences.T @ differences / len(differences)
