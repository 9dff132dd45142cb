"""Other views of a training photo. A caption must stay true, so crops are large and colors stay.

A file of its own, because it is the one thing that training does to pixels and inference does not.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def augment(image: Image.Image, generator: np.random.Generator, *, degrade: float) -> Image.Image:
    """A random crop (half to all of the area), aspect, flip and sometimes a loss of resolution."""
    width, height = image.size
    area = generator.uniform(0.5, 1.0)
    stretch = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)) / 2)
    crop_width = int(min(width, max(1, round(width * area**0.5 * stretch))))
    crop_height = int(min(height, max(1, round(height * area**0.5 / stretch))))
    left, top = generator.integers(width - crop_width + 1), generator.integers(height - crop_height + 1)
    image = image.crop((int(left), int(top), int(left) + crop_width, int(top) + crop_height))
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if generator.random() < degrade:  # tiny pictures blown up, as in CIFAR or thumbnails
        side = int(generator.integers(28, 72))
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return image
