"""Which images, views and captions a batch has."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from babelclip.errors import ConfigError, DatasetError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.train.data.captioned_images import CaptionedImage
from babelclip.train.data.image_sampler import ImageReader, ImageSampler, ImageView, ViewSettings, draw_caption

NUMBER = 12


def photo(number: int, *, broken: bool = False) -> CaptionedImage:
    ramp = np.linspace(0, 20 * number + 10, 20 * 20 * 3).reshape(20, 20, 3).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(ramp).save(stream, "PNG")
    content = b"nothing" if broken else stream.getvalue()
    return CaptionedImage(f"{number}.png", f"here/{number}.png", lambda: content, {"en": [f"photo {number}"]})


PHOTOS = tuple(photo(number) for number in range(NUMBER))
STILL = ViewSettings(augment=False)


def reader() -> ImageReader:
    return ImageReader(ImagePreparer(ImagePrepareConfig(size=12, resize_mode="squash")))


def sampler(settings: ViewSettings = STILL, photos: tuple[CaptionedImage, ...] = PHOTOS) -> ImageSampler:
    return ImageSampler([photos], [1.0], 0, 0, settings)


def crops(settings: ViewSettings, rows: range) -> set[bytes]:
    return {one.crop.tobytes() for one in sampler(settings).draw(rows, reader()) if one.crop is not None}


def test_few_views_come_again_and_are_the_same() -> None:
    few = ViewSettings(views=2)
    assert crops(few, range(200)) == crops(few, range(500))
    assert NUMBER < len(crops(few, range(500))) <= 2 * NUMBER
    assert len(crops(ViewSettings(), range(200))) > 150
    assert len(crops(STILL, range(200))) == NUMBER
    with pytest.raises(ConfigError, match="views = 3 and augment = False"):
        ViewSettings(views=3, augment=False)


def test_a_row_is_the_same_whoever_draws_it() -> None:
    settings, whole = ViewSettings(), reader()
    together = sampler(settings).draw(range(20), whole)
    apart = [*sampler(settings).draw(range(13), reader()), *sampler(settings).draw(range(13, 20), reader())]
    for one, other in zip(together, apart, strict=True):
        assert (one.view, one.caption) == (other.view, other.caption)
        assert np.array_equal(one.crop, other.crop)


def test_a_broken_image_costs_its_row_and_is_named() -> None:
    photos, used = (photo(0, broken=True), *PHOTOS[1:]), reader()
    drawn = sampler(photos=photos).draw(range(3 * NUMBER), used)
    assert all(one.crop is not None for one in drawn)
    assert {one.view.image.name for one in drawn} == {one.name for one in photos[1:]}
    assert list(used.failures) == ["here/0.png"]
    with pytest.raises(DatasetError, match="20 images of one source in turn cannot be read; the last is here/"):
        sampler(photos=tuple(photo(number, broken=True) for number in range(3))).draw([0], used)


def test_what_is_known_is_not_read() -> None:
    used = reader()
    (known,) = sampler(photos=(photo(0, broken=True),)).draw([0], used, lambda view: True)
    assert (known.crop, used.failures) == (None, {})


def test_equal_pixels_have_equal_keys() -> None:
    used, other = reader(), photo(1)
    assert used.key(ImageView(PHOTOS[1], None)) == used.key(ImageView(other, None))
    assert used.key(ImageView(PHOTOS[1], None)) != used.key(ImageView(PHOTOS[2], None))
    assert used.key(ImageView(PHOTOS[1], None)) != used.key(ImageView(PHOTOS[1], (1, 2)))


def test_captions_are_drawn_by_language_and_english_has_its_share() -> None:
    captions = {"en": ["a"], "de": ["b", "c"], "fr": []}
    generator = np.random.default_rng(0)
    drawn = [draw_caption(captions, generator, 0.0) for _ in range(4000)]
    assert drawn.count("a") / 4000 == pytest.approx(0.5, abs=0.03)
    assert drawn.count("b") / 4000 == pytest.approx(0.25, abs=0.03)
    assert [draw_caption(captions, generator, 1.0) for _ in range(5)] == ["a"] * 5
    assert draw_caption({"zh": ["x"]}, generator, 1.0) == "x"
    assert draw_caption({"fr": []}, generator, 0.5) == ""
