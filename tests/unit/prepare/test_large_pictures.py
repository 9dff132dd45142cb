"""Large pictures wait for each other, in what the model sees and in what people look at; small ones do not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from babelclip.prepare import large_pictures
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.large_pictures import taking_turns
from babelclip.prepare.pixel_budget import PixelBudget
from babelclip.search.thumbnail import thumbnail

WAYS: dict[str, Callable[[Path], object]] = {
    "embedding": lambda path: ImagePreparer(ImagePrepareConfig(size=32)).crop_picture(path),
    "thumbnail": lambda path: thumbnail("image", {"path": str(path)}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("large", [True, False])
def test_a_large_picture_waits_while_another_is_held(
    way: str, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_pictures, "DECODING", PixelBudget(30_000, spare=10_000))
    Image.new("RGB", (200 if large else 90, 100), "red").save(tmp_path / "a.png")
    done = threading.Event()

    def work() -> None:
        WAYS[way](tmp_path / "a.png")
        done.set()

    with taking_turns() as wait:
        wait((3000, 100))
        thread = threading.Thread(target=work)
        thread.start()
        assert done.wait(0.3 if large else 20) is not large
    thread.join(20)
    assert done.is_set()
