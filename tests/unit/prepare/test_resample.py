"""A window of a resized image equals resize-then-crop, bit for bit, in every combination of up, down, wide and tall."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from babelclip.prepare import image as image_module
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer, shape_to_square
from babelclip.prepare.resample import RESAMPLING, resize_window

Kind = Literal["bicubic", "bilinear"]

SHAPES = [(1, 1), (55, 57), (200, 300), (301, 200), (1, 2000), (2000, 1), (3, 1999), (7, 3001), (2999, 11), (56, 4000)]
SHAPES += [(4000, 56), (57, 4001), (4001, 57), (80, 5003), (5003, 80), (130, 4111), (4111, 130)]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(max_examples=200, deadline=None)
@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    resized=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    cut=st.tuples(*[st.floats(0, 1)] * 4),
    kind=st.sampled_from(["bicubic", "bilinear"]),
    seed=st.integers(0, 2**31),
)
# One shape for each side of the rule by which Pillow 13 chooses its first pass.
@example(source=(20, 81), resized=(10, 40), cut=(0.2, 0.2, 0.9, 0.9), kind="bicubic", seed=1)
@example(source=(57, 41), resized=(29, 7), cut=(0.2, 0.2, 0.9, 0.9), kind="bicubic", seed=1)
@example(source=(5, 9), resized=(21, 35), cut=(0.2, 0.2, 0.9, 0.9), kind="bilinear", seed=1)
def test_window_equals_resize_then_crop(
    source: tuple[int, int], resized: tuple[int, int], cut: tuple[float, ...], kind: Kind, seed: int
) -> None:
    image = noise(*source, seed)
    (left, right), (top, bottom) = sorted(cut[::2]), sorted(cut[1::2])
    box = (int(left * (resized[0] - 1)), int(top * (resized[1] - 1)), 0, 0)
    box = (box[0], box[1], max(box[0] + 1, int(right * resized[0])), max(box[1] + 1, int(bottom * resized[1])))
    expected = image.resize(resized, RESAMPLING[kind]).crop(box)
    np.testing.assert_array_equal(np.asarray(resize_window(image, resized, box, kind)), np.asarray(expected))


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SHAPES)
def test_the_models_square_is_the_same_by_both_ways(
    size: tuple[int, int], kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, config = noise(*size), ImagePrepareConfig(size=56, interpolation=kind)
    monkeypatch.setattr(image_module, "WINDOW_FROM_PIXELS", 2**62)
    whole = np.asarray(shape_to_square(image, config))
    monkeypatch.setattr(image_module, "WINDOW_FROM_PIXELS", 0)
    np.testing.assert_array_equal(np.asarray(shape_to_square(image, config)), whole)


@pytest.mark.parametrize("size", [(20, 1000), (1000, 20), (600, 30000), (30000, 600)])
def test_the_published_size_switches_to_the_window_by_itself(size: tuple[int, int]) -> None:
    """At 512 pixels these would fill 50 to 100 MB; both ways still agree."""
    image = noise(*size)
    expected = np.asarray(_resize_then_crop(image, 512))
    np.testing.assert_array_equal(ImagePreparer(ImagePrepareConfig(size=512)).crop(image), expected)


def _resize_then_crop(image: Image.Image, side: int) -> Image.Image:
    """The reference's steps, written a second time and naively."""
    short = min(image.size)
    width, height = int(side * image.width / short), int(side * image.height / short)
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


EXTREMES = """
import resource, sys
import numpy as np
from PIL import Image
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for mode in ("shortest", "squash", "longest"):
    preparer = ImagePreparer(ImagePrepareConfig(size=512, resize_mode=mode))
    for size in ((1, 20000), (20000, 1), (1, 900000), (900000, 1), (90, 900000), (900000, 90)):
        crop = preparer.crop(Image.new("RGB", size, (10, 200, 30)))
        assert crop.shape == (512, 512, 3)
        if mode != "longest":
            assert (crop == (10, 200, 30)).all(), (mode, size)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_extreme_shapes_take_little_memory() -> None:
    """1 x 20,000 would take 21 GB when resized before the crop; sides up to the limit stay below a gigabyte here."""
    done = subprocess.run([sys.executable, "-c", EXTREMES], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1000
