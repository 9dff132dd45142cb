"""A post-step: new values of some of a model's tensors, computed from what a stage has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from babelclip.towers.dual import DualEncoder
from babelclip.train.data.captioned_images import CaptionedImage
from babelclip.train.data.image_sampler import DrawnImage, ImageReader, ImageView
from babelclip.train.data.sources import Sources
from babelclip.train.stage_towers import StageTowers

NewTensors = Mapping[str, Tensor]
"""Name in the model's ``state_dict`` -> value."""


@dataclass(frozen=True, slots=True)
class PostStepContext:
    """What post-steps are computed from; both towers are frozen."""

    model: DualEncoder
    towers: StageTowers
    sources: Sources
    seed: int


class PostStep(Protocol):
    """What the recipe says about one; calling it computes it."""

    def __call__(self, context: PostStepContext) -> NewTensors:
        """New values of some tensors."""
        ...


def text_vectors(context: PostStepContext, texts: Sequence[str]) -> Tensor:
    """Vectors of texts, not normalized: float32 (N, E)."""
    return context.towers.frozen_text_vectors(context.towers.tokenize(texts))


def image_vectors(context: PostStepContext, images: Sequence[CaptionedImage]) -> Tensor:
    """Vectors of images, not normalized; those that cannot be read are left out: float32 (N, E)."""
    read = (_as_at_inference(context.towers.reader, images[at : at + 64]) for at in range(0, len(images), 64))
    return torch.cat([context.towers.frozen_image_outputs(drawn) for drawn in read if drawn])


def _as_at_inference(reader: ImageReader, images: Sequence[CaptionedImage]) -> list[DrawnImage]:
    """Plain views of the images that can be read."""
    drawn: list[DrawnImage] = []
    for image in images:
        view = ImageView(image, None)
        try:
            drawn.append(DrawnImage(view, reader.crop(view), ""))
        except (OSError, ValueError) as error:
            reader.failures.setdefault(image.where, str(error))
    return drawn


def sample(number: int, size: int, seed: Sequence[int]) -> np.ndarray:
    """``size`` of ``number`` rows, ascending; all of them where there are not so many."""
    return np.sort(np.random.default_rng(seed).choice(number, size=min(size, number), replace=False))
