"""Where in an image a text is seen: what its parts, covered or alone, change of the cosine.

A part is covered, and how much of the cosine goes is looked at (Zeiler & Fergus 2014, arXiv:1311.2901); and parts are
looked at alone. It asks the model alone, so it works with every runtime and with a server.

Covers alone miss what fills the picture, because each leaves enough of it to be known by; what a part looks like alone
tells that. benchmarks/where.py has how well either finds what was pasted into a scene.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from babelclip.arrays import Vectors
from babelclip.encodes import Encodes
from babelclip.errors import ConfigError

Heat = NDArray[np.float32]

CELLS = 8
"""Cells of each side."""
COVER = 3 / 8
"""Side of a cover, as a share of the image's; each is one of all that lie on whole cells."""
LOOKS = (1 / 4, 1 / 2)
"""The same of what is looked at alone: small things are known close by, large ones by more of them."""
LONGEST = 640
"""Pixels of the longer side of what is covered and drawn on; the model sees less."""
PALETTE = ((0.0, (20, 20, 60)), (0.5, (200, 40, 90)), (1.0, (255, 220, 90)))


@dataclass(frozen=True, slots=True)
class Region:
    """A square of cells."""

    row: int
    column: int
    side: int

    @property
    def cells(self) -> tuple[slice, slice]:
        """Its place in a heat."""
        return slice(self.row, self.row + self.side), slice(self.column, self.column + self.side)

    def box(self, image: Image.Image, cells: int) -> tuple[int, int, int, int]:
        """Its place in an image, of a pixel at least."""
        width, height = image.size
        left, top = self.column * width // cells, self.row * height // cells
        right, bottom = (self.column + self.side) * width // cells, (self.row + self.side) * height // cells
        return left, top, max(right, left + 1), max(bottom, top + 1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What covering and looking showed."""

    image: Image.Image  # RGB, upright, no larger than ``LONGEST``
    cosine: float  # of the whole image
    heat: Heat  # (rows, columns), in cosine: see ``where_seen``; below zero: it is better without


def where_seen(
    encoder: Encodes,
    image: Image.Image,
    query: Vectors,
    cells: int = CELLS,
    *,
    cover: float | None = COVER,
    looks: Sequence[float] = LOOKS,
    before_each: Callable[[], object] | None = None,
) -> Seen:
    """Compare an upright RGB image in parts with ``query`` (E,), of length one.

    A cell's heat is the mean of what the cosine loses by the covers that it is under, and for each size of ``looks``
    how far the parts that it is in stand above the mean of all such parts, looked at alone.

    Args:
        encoder: the model.
        image: what is looked at.
        query: what is looked for.
        cells: into how many parts each side is cut.
        cover: the side of a cover, as a share of the image's; None for no covers.
        looks: the same of what is looked at alone.
        before_each: called before each part is made. What it raises ends the work: there are about a hundred parts,
            and whoever asked may have left.

    Raises:
        ConfigError: fewer than two cells.
    """
    if cells < 2:
        raise ConfigError(f"cells must be at least 2, found {cells}")
    shown = image.convert("RGB")
    shown.thumbnail((LONGEST, LONGEST))
    covers = [] if cover is None else _regions(cells, cover)
    parts = [_regions(cells, share) for share in looks]
    images = chain([shown], _covered(shown, covers, cells), _cut_out(shown, chain(*parts), cells))
    whole, *cosines = (
        encoder.encode_image(images if before_each is None else _asking(images, before_each), dim=len(query)) @ query
    )
    heat, rest = np.zeros((cells, cells), np.float32), iter(cosines)
    if covers:
        heat += _spread(covers, [whole - next(rest) for _ in covers], cells)
    for regions in parts:
        alone = np.array([next(rest) for _ in regions])
        heat += _spread(regions, alone - alone.mean(), cells)
    return Seen(shown, float(whole), heat)


def _regions(cells: int, share: float) -> list[Region]:
    side = min(max(1, round(share * cells)), cells - 1)
    starts = range(cells - side + 1)
    return [Region(row, column, side) for row in starts for column in starts]


def _covered(image: Image.Image, covers: Iterable[Region], cells: int) -> Iterator[Image.Image]:
    cover = image.filter(ImageFilter.GaussianBlur(max(image.size) / 12))  # one that brings no new edges of its own
    for region in covers:
        box = region.box(image, cells)
        result = image.copy()
        result.paste(cover.crop(box), box)
        yield result


def _cut_out(image: Image.Image, parts: Iterable[Region], cells: int) -> Iterator[Image.Image]:
    for region in parts:
        yield image.crop(region.box(image, cells))


def _asking(images: Iterable[Image.Image], before_each: Callable[[], object]) -> Iterator[Image.Image]:
    for image in images:
        before_each()
        yield image


def _spread(regions: Sequence[Region], values: Iterable[float], cells: int) -> Heat:
    """The mean over the regions that a cell is in: (rows, columns)."""
    total, times = np.zeros((cells, cells), np.float32), np.zeros((cells, cells), np.float32)
    for region, value in zip(regions, values, strict=True):
        total[region.cells] += value
        times[region.cells] += 1
    mean: Heat = total / times
    return mean


def draw_heat(seen: Seen) -> bytes:
    """A PNG of the image, dark where it does not matter and warm where the text is seen."""
    positive = np.maximum(seen.heat, 0)
    scaled = positive / positive.max() if positive.max() > 0 else positive
    small = Image.fromarray((255 * scaled).astype(np.uint8))
    level = np.asarray(small.resize(seen.image.size, Image.Resampling.BICUBIC), np.float32) / 255
    stops = [stop for stop, _ in PALETTE]
    color = np.stack([np.interp(level, stops, [rgb[channel] for _, rgb in PALETTE]) for channel in range(3)], axis=-1)
    strength = (0.35 + 0.25 * level)[..., None]
    gray = np.asarray(seen.image.convert("L").convert("RGB"), np.float32)
    mixed = Image.fromarray(((1 - strength) * gray + strength * color).astype(np.uint8))
    file = io.BytesIO()
    mixed.save(file, "PNG")
    return file.getvalue()
