"""Prices: Jina's published examples, and the edges between tiles."""

from __future__ import annotations

import pytest

from babelclip.serve.pricing import Usage, image_tokens


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (512, 512, 4_000),
        (720, 720, 16_000),
        (1080, 1080, 36_000),
        (333, 333, 4_000),
        (1, 1, 4_000),
        (513, 1, 8_000),
        (1, 513, 8_000),
        (512, 513, 8_000),
        (1024, 512, 8_000),
        (1025, 1024, 24_000),
    ],
)
def test_every_tile_begun_costs_4000(width: int, height: int, tokens: int) -> None:
    assert image_tokens(width, height) == tokens


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5)])
def test_an_image_without_pixels_has_no_price(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        image_tokens(width, height)


def test_usages_add_up() -> None:
    usages = [Usage(text_tokens=20), Usage(image_tokens=4_000), Usage(text_tokens=1, image_tokens=2)]
    assert sum(usages, Usage()) == Usage(text_tokens=21, image_tokens=4_002)
    assert sum(usages, Usage()).total == 4_023
    with pytest.raises(ValueError, match="counted from 0"):
        Usage(text_tokens=-1)
