"""Take the images' mean out of some numbers of image vectors.

Image vectors lie in a narrow cone. Training over Matryoshka prefixes lets the cone's mean and a text cancel out at each
width that is trained, and only there: cut in between, what is left of the mean ranks texts by chance (lab/LOG.md,
2026-11-28). The mean is part of the last norm's bias, so it can be taken out of finished weights. A file of its own,
because a recipe names it, as it names the other post-steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F

from babelclip.errors import ConfigError
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.train.post_steps.post_step import NewTensors, PostStepContext, image_vectors, sample


@dataclass(frozen=True, kw_only=True, slots=True)
class CenteringSettings:
    """What the recipe says about it, a ``PostStep``."""

    kind: Literal["centering"]
    images: tuple[str, ...]  # data of kind captioned_images or images
    sample: int = 4096  # images
    share: float = 1.0  # of the mean that is taken out
    start: int = 0  # first of the numbers; those before it keep theirs
    end: int | None = None  # the first behind them that keeps its own; without it, none does

    def __call__(self, context: PostStepContext) -> NewTensors:
        """The last norm's new bias: moved by the mean of the images' vectors, as long as the tower gives them.

        Raises:
            ConfigError: The image tower ends otherwise.
        """
        if not isinstance(context.towers.vision, Eva02VisionTower):
            raise ConfigError(
                "centering takes the mean out of the bias of an image tower's last norm; the vectors of CLIP's tower "
                "come out of a projection without a bias"
            )
        images = [image for name in self.images for image in context.sources.images(name)]
        chosen = [images[row] for row in sample(len(images), self.sample, [context.seed, 13])]
        vectors = image_vectors(context, chosen)
        mean = F.normalize(vectors, dim=1).mean(dim=0) * vectors.norm(dim=1).mean()
        bias = context.towers.vision.norm.bias.detach().clone()
        some = slice(self.start, self.end)
        bias[some] -= self.share * mean[some].to(bias)
        return {"vision.norm.bias": bias}
