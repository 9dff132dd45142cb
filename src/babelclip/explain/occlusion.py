"""Where in an image a text is seen: cover parts of it and look how much of the cosine goes (Zeiler & Fergus 2014,
arXiv:1311.2901). It asks the model alone, so it works with every runtime and with a server."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from babelclip.arrays import Vectors
from babelclip.encodes import Encodes
from babelclip.errors import ConfigError

Heat = NDArray[np.float32]

CELLS = 8
"""Cells of each side; a cover is two cells wide, and each cell the mean over the covers that it was under."""
LONGEST = 640
"""Pixels of the longer side of what is covered and drawn on; the model sees less."""
PALETTE = ((0.0, (20, 20, 60)), (0.5, (200, 40, 90)), (1.0, (255, 220, 90)))


@dataclass(frozen=True, slots=True)
class Seen:
    """What covering showed."""

    image: Image.Image  # RGB, upright, no larger than ``LONGEST``
    cosine: float  # of the whole image
    heat: Heat  # (rows, columns): how much of the cosine a cell carries; below zero: it is better without


def where_seen(encoder: Encodes, image: Image.Image, query: Vectors, cells: int = CELLS) -> Seen:
    """Cover an upright RGB image cell by cell and compare what is left with ``query`` (E,), of length one.

    Raises: ConfigError for fewer than two cells.
    """
    if cells < 2:
        raise ConfigError(f"cells must be at least 2, found {cells}")
    shown = image.convert("RGB")
    shown.thumbnail((LONGEST, LONGEST))
    blurred = shown.filter(
        ImageFilter.GaussianBlur(max(shown.size) / 12)
    )  # a cover that brings no new edges of its own
    places = [(row, column) for row in range(-1, cells) for column in range(-1, cells)]
    covered = [_covered(shown, blurred, place, cells) for place in places]
    vectors = encoder.encode_image([shown, *covered], dim=len(query))
    cosines = vectors @ query
    total, times = np.zeros((cells, cells), np.float32), np.zeros((cells, cells), np.float32)
    for (row, column), cosine in zip(places, cosines[1:], strict=True):
        under = np.s_[max(row, 0) : row + 2, max(column, 0) : column + 2]
        total[under] += cosines[0] - cosine
        times[under] += 1
    return Seen(shown, float(cosines[0]), total / times)


def _covered(image: Image.Image, cover: Image.Image, place: tuple[int, int], cells: int) -> Image.Image:
    """The image with two by two cells, from ``place`` on, taken from the cover."""
    width, height = image.size
    row, column = place
    edges = (column * width // cells, row * height // cells, (column + 2) * width // cells, (row + 2) * height // cells)
    box = (max(edges[0], 0), max(edges[1], 0), min(edges[2], width), min(edges[3], height))
    result = image.copy()
    result.paste(cover.crop(box), box)
    return result


def draw_heat(seen: Seen) -> bytes:
    """A PNG of the image, dark where it does not matter and warm where the text is seen."""
    positive = np.maximum(seen.heat, 0)
    scaled = positive / positive.max() if positive.max() > 0 else positive
    small = Image.fromarray((255 * scaled).astype(np.uint8))
    level = np.asarray(small.resize(seen.image.size, Image.Resampling.BICUBIC), np.float32) / 255
    stops = [stop for stop, _ in PALETTE]
    color = np.stack([np.interp(level, stops, [rgb[channel] for _, rgb in PALETTE]) for channel in range(3)], axis=-1)
    strength = (0.35 + 0.25 * level)[..., None]
    grey = np.asarray(seen.image.convert("L").convert("RGB"), np.float32)
    mixed = Image.fromarray(((1 - strength) * grey + strength * color).astype(np.uint8))
    file = io.BytesIO()
    mixed.save(file, "PNG")
    return file.getvalue()
