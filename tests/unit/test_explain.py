"""Where a text is seen: the part that carries it is found, whatever else is in the picture."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.errors import ConfigError
from babelclip.explain.occlusion import Seen, draw_heat, where_seen

ALBUM = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"


class Brightness:
    """Sees how bright the upper left quarter of an image is, and nothing else."""

    dim = 2

    def encode_image(self, images: Iterable[Image.Image], *, dim: int) -> np.ndarray:
        corner = [
            np.asarray(image)[: max(1, image.height // 2), : max(1, image.width // 2)].mean() / 255 for image in images
        ]
        vectors = np.array([[value, 1.0] for value in corner], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(300, 200), (40, 90), (2000, 1500), (3, 2)])
def test_heat_lies_where_the_model_looks(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 2))
    seen = where_seen(Brightness(), image, np.array([1.0, 0.0], np.float32))  # type: ignore[arg-type]
    assert seen.heat.shape == (8, 8)
    assert seen.cosine == pytest.approx(2**-0.5, abs=1e-3)
    if min(size) > 8:
        assert seen.heat[:4, :4].min() > 0
        assert seen.heat[5:, 5:].max() <= 0
        assert seen.heat[:3, :3].mean() > 4 * np.maximum(seen.heat[4:], 0).mean()


def test_a_dog_is_seen_where_it_is_pasted() -> None:
    """Two photos side by side: each text is seen on its own photo's half."""
    encoder = babelclip.load(threads=1)
    left, right = (Image.open(ALBUM / name).convert("RGB").resize((240, 240)) for name in ("dog.webp", "zebras.webp"))
    both = Image.new("RGB", (480, 240))
    both.paste(left, (0, 0))
    both.paste(right, (240, 0))
    for text, half in (("a dog", np.s_[:, :4]), ("zebras", np.s_[:, 4:])):
        heat = np.maximum(where_seen(encoder, both, encoder.encode_text(text)).heat, 0)
        assert heat[half].sum() > 0.6 * heat.sum(), text


def test_what_fills_the_picture_is_seen_on_itself_and_not_on_the_sky_beside_it() -> None:
    """No cover hides enough of the tower to change what it is: what its parts are like alone tells where it is."""
    encoder = babelclip.load(threads=1)
    tower = Image.open(ALBUM / "lighthouse.webp").convert("RGB")
    heat = np.maximum(where_seen(encoder, tower, encoder.encode_text("ein rot-weißer Leuchtturm")).heat, 0)
    assert heat[:, :4].sum() > 0.7 * heat.sum()


def test_the_painting_is_a_picture_of_the_image() -> None:
    image = Image.new("RGB", (50, 30), (120, 130, 140))
    for heat in (np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32), -np.ones((4, 4), np.float32)):
        painted = Image.open(io.BytesIO(draw_heat(Seen(image, 0.5, heat))))
        assert (painted.format, painted.size) == ("PNG", (50, 30))
    assert np.ptp(np.asarray(painted), axis=(0, 1)).max() == 0, "nothing is painted warm where nothing carries the text"


def test_one_cell_is_refused() -> None:
    with pytest.raises(ConfigError):
        where_seen(Brightness(), Image.new("RGB", (9, 9)), np.array([1.0, 0.0], np.float32), cells=1)  # type: ignore[arg-type]
