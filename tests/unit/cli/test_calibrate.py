"""``babelclip model calibrate``: a reading of a folder's own weights, kept under its checksums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import babelclip
from babelclip.bundled import bundled_folder
from babelclip.checkpoint.checksums import wrong_checksums
from babelclip.cli.main import DONE, FAILED, USAGE, run
from babelclip.demo.album import read_album


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_folder(), tmp_path / "model"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's fifty photos and their mirror images, which share their names; and one that is broken."""
    folder = tmp_path_factory.mktemp("photos")
    rows = [{"image": "broken.jpg", "captions": {"en": ["nothing"]}}]
    (folder / "broken.jpg").write_bytes(b"no image")
    for photo in read_album().photos:
        opened = Image.open(photo.path).convert("RGB")
        for side, image in (("as-it-is", opened), ("mirrored", ImageOps.mirror(opened))):
            image.save(folder / f"{photo.name}-{side}.png")
            rows.append({"image": f"{photo.name}-{side}.png", "captions": {"en": [photo.name.replace("-", " ")]}})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_it_is_fitted_on_what_is_given(model: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A caption that two photos share is right for both, so both have a chance that the others have not."""
    assert run(["model", "calibrate", str(model), str(photos)]) == DONE
    assert "50 captions of 100 photos" in capsys.readouterr().out
    assert wrong_checksums(model) == []
    encoder = babelclip.load(model)
    assert encoder.calibration is not None
    assert encoder.calibration.photos == 100
    lighthouses = [photos / f"lighthouse-{side}.png" for side in ("as-it-is", "mirrored")]
    query = encoder.encode_text("lighthouse")
    near = encoder.calibration.chance(query, encoder.encode_image(lighthouses) @ query)
    far = encoder.calibration.chance(query, encoder.encode_image([photos / "bagel-mirrored.png"]) @ query)
    assert near is not None
    assert far is not None
    assert np.min(near) > 0.5 > 0.05 > far[0]


def test_one_of_other_weights_is_refused_and_made_anew(
    model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = model / "reading.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fingerprint": "0" * 32}))
    assert run(["embed", "a text", "--model", str(model)]) == FAILED
    assert "babelclip model calibrate" in capsys.readouterr().err
    assert run(["model", "calibrate", str(model), str(photos)]) == DONE
    assert babelclip.load(model).calibration is not None


def test_few_photos_say_too_little(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(photos / "bagel-mirrored.png", few)
    (few / "captions.csv").write_text("image,caption\nbagel-mirrored.png,a bagel\n")
    before = (model / "reading.json").read_bytes()
    assert run(["model", "calibrate", str(model), str(few)]) == USAGE
    assert "at least 100 photos" in capsys.readouterr().err
    assert (model / "reading.json").read_bytes() == before
