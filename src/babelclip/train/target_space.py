"""The space that both towers are trained into: the teacher's vectors, centred, weighted and turned.

E5's vectors bunch in a narrow cone (cosines 0.7 to 1.0), so their mean is taken out first. Captions of one photo say
the same thing in other words: directions in which *they* differ matter less to an image, so these are shrunk (a
softened linear discriminant, Fisher 1936). At last the axes are turned to principal components, so that prefixes carry
most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.errors import DatasetError


@dataclass(frozen=True, slots=True)
class TargetSpace:
    """Teacher vector v -> (v - mean) @ matrix, normalised."""

    mean: Tensor  # (E,)
    matrix: Tensor  # (E, E)

    def __call__(self, teacher_vectors: Tensor) -> Tensor:
        """(N, E) any float type -> float32 (N, E), unit length."""
        return F.normalize((teacher_vectors.float() - self.mean) @ self.matrix, dim=-1)


def fit_target_space(samples: Sequence[Tensor], groups: Tensor, within: Tensor, *, strength: float) -> TargetSpace:
    """Fit the space.

    samples: kinds of text (captions, names, sentences), each (N, E), weighing the same whatever their number.
    within: (M, E) captions; groups: (M,) int64, which photo each describes.
    strength: 0 leaves the teacher's geometry, 1 would whiten the differences among captions of one photo.
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
    return TargetSpace(mean, matrix / matrix.norm() * matrix.shape[0] ** 0.5)


def _within_scatter(vectors: Tensor, groups: Tensor) -> Tensor:
    """Covariance of the differences between a vector and the mean of its group."""
    number = int(groups.max()) + 1
    sums = torch.zeros(number, vectors.shape[1]).index_add_(0, groups, vectors)
    counts = torch.bincount(groups, minlength=number).clamp(min=1)[:, None]
    differences = vectors - (sums / counts)[groups]
    return differences.T @ differences / len(differences)
