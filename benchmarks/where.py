"""How well `babelclip explain` finds the place of what a text says: photos put together, so that the place is known.

    python benchmarks/where.py

In a mosaic four photos of the demo lie in a square; in a scene one photo, half as wide, lies somewhere on another. The
text is the title of one of them, of those that the model finds by their titles. Told for covers alone, parts looked at
alone, and both, which is what `explain` does: how often the warmest cell lies on the photo, what share of the warmth
does, and how often a cell on it is warmer than one beside it (half by chance).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import babelclip
from babelclip.arrays import Vectors
from babelclip.demo.album import read_album
from babelclip.encoder import Encoder
from babelclip.evaluate.results import describe_origin, now
from babelclip.explain.occlusion import CELLS, COVER, LOOKS, Heat, where_seen

OUT = Path(__file__).parent / "results" / "where.json"
CASES = 30
SIDE = 448  # pixels
METHODS: dict[str, dict[str, Any]] = {
    "covers": {"cover": COVER, "looks": ()},
    "parts": {"cover": None, "looks": LOOKS},
    "both": {"cover": COVER, "looks": LOOKS},
}
Cells = NDArray[np.bool_]
Case = tuple[Image.Image, Vectors, Cells]
"""A picture, the title of one photo in it as a vector, and the cells on which that photo lies."""


def known_photos(encoder: Encoder) -> list[tuple[Image.Image, Vectors]]:
    """Photos that are nearest to their titles, with the vectors of these."""
    photos = read_album().photos
    images = [Image.open(photo.path).convert("RGB") for photo in photos]
    titles = encoder.encode_text([photo.title for photo in photos])
    nearest = (encoder.encode_image(images) @ titles.T).argmax(axis=0)
    return [
        (image, title)
        for place, (image, title) in enumerate(zip(images, titles, strict=True))
        if nearest[place] == place
    ]


def mosaic(photos: list[tuple[Image.Image, Vectors]], generator: np.random.Generator) -> Case:
    """Four photos in a square; the first is asked for."""
    picture, on = Image.new("RGB", (SIDE, SIDE)), np.zeros((CELLS, CELLS), bool)
    chosen = generator.choice(len(photos), 4, replace=False)
    corners = generator.permutation([(row, column) for row in (0, 1) for column in (0, 1)])
    for photo, (row, column) in zip(chosen, corners, strict=True):
        picture.paste(photos[photo][0].resize((SIDE // 2, SIDE // 2)), (column * SIDE // 2, row * SIDE // 2))
    row, column = corners[0] * CELLS // 2
    on[row : row + CELLS // 2, column : column + CELLS // 2] = True
    return picture, photos[chosen[0]][1], on


def scene(photos: list[tuple[Image.Image, Vectors]], generator: np.random.Generator) -> Case:
    """A photo, half as wide, on another."""
    ground, asked = generator.choice(len(photos), 2, replace=False)
    picture, on = photos[ground][0].resize((SIDE, SIDE)), np.zeros((CELLS, CELLS), bool)
    row, column = generator.integers(0, CELLS // 2 + 1, 2)
    picture.paste(photos[asked][0].resize((SIDE // 2, SIDE // 2)), (column * SIDE // CELLS, row * SIDE // CELLS))
    on[row : row + CELLS // 2, column : column + CELLS // 2] = True
    return picture, photos[asked][1], on


def figures(heats: list[tuple[Heat, Cells]]) -> dict[str, float]:
    """Warmest cell on the photo, share of the warmth on it, and a cell on it warmer than one beside: means."""
    rows = []
    for heat, on in heats:
        warmth = np.maximum(heat, 0)
        share = warmth[on].sum() / warmth.sum() if warmth.any() else 0.0
        rows.append((on.flat[heat.argmax()], share, (heat[on][:, None] > heat[~on][None]).mean()))
    return dict(zip(("warmest", "share", "warmer"), np.mean(rows, axis=0).round(3).tolist(), strict=True))


def main() -> None:
    encoder = babelclip.load()
    photos = known_photos(encoder)
    kinds: dict[str, Callable[..., Case]] = {"mosaic": mosaic, "scene": scene}
    measured: dict[str, Any] = {"cases": CASES}
    for kind, make in kinds.items():
        generator = np.random.default_rng(0)
        cases = [make(photos, generator) for _ in range(CASES)]
        measured[kind] = {
            name: figures([(where_seen(encoder, picture, text, **method).heat, on) for picture, text, on in cases])
            for name, method in METHODS.items()
        }
    origin = describe_origin(encoder.facts(), None, "", 0)
    described = {"date": now(), "commit": origin.commit, "machine": origin.machine, "model": encoder.facts()}
    OUT.write_text(json.dumps(measured | described, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
