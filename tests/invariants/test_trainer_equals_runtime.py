"""What a tower is given in training is what it is given by ``babelclip.load``, and so are its vectors.

For each kind of a stage's input: token ids, crops, features below a cut, vectors of a frozen tower.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from training_stages import TOKENIZER, tiny_model

import babelclip
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import load_towers, state_tensors
from babelclip.checkpoint.folder import read_folder, write_folder
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.train.data.captioned_images import CaptionedImage
from babelclip.train.data.image_sampler import DrawnImage, ImageView
from babelclip.train.frozen_outputs import CacheSettings
from babelclip.train.stage_towers import InputSettings, StageTowers, image_reader
from babelclip.train.tower_plan import TowerPlan, prepare_tower

TEXTS = ["a red house", "", "ein sehr langer Satz " * 30, "日本語\u0000 und\tmehr"]
MAX_TOKENS = 40
PREPARATIONS = {
    "as published": ImagePrepareConfig(size=12),
    "squashed, upright, on white": ImagePrepareConfig(
        size=12, resize_mode="squash", alpha="white", orientation="upright"
    ),
    "whole": ImagePrepareConfig(size=12, resize_mode="longest", orientation="upright", fill=90),
}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photos() -> dict[str, bytes]:
    """Files whose pixels can be read in more than one way."""
    pixels = np.random.default_rng(0).integers(256, size=(30, 20, 4), dtype=np.uint8)
    color, turned = Image.fromarray(pixels[..., :3]), Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    return {
        "plain": encoded(color, "PNG"),
        "turned": encoded(color, "JPEG", exif=turned),
        "alpha": encoded(Image.fromarray(pixels), "PNG"),
        "palette": encoded(color.quantize(16), "PNG", transparency=3),
        "gray": encoded(color.convert("L"), "PNG"),
        "sixteen bits": encoded(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG"),
    }


class Opened:
    """A model folder, both ways."""

    def __init__(
        self, folder: Path, prepare: ImagePrepareConfig, text: TowerPlan, image: TowerPlan, *, trunk: bool = False
    ) -> None:
        model = tiny_model(trunk=trunk)
        write_folder(
            folder / "model",
            name="tiny",
            config=model.config,
            text_prepare=TextPrepareConfig(max_tokens=MAX_TOKENS),
            image_prepare=prepare,
            tensors=state_tensors(model),
            tokenizer_file=TOKENIZER,
            card=CardFacts(license="other", summary="random"),
        )
        read = read_folder(folder / "model")
        assert read.image_prepare is not None
        towers = load_towers(read, adapters="live")
        assert towers.vision is not None
        prepare_tower(towers.text, text)
        prepare_tower(towers.vision, image)
        self.texts, self.images = (
            TextPreparer(read.tokenizer_file, read.text_prepare),
            ImagePreparer(read.image_prepare),
        )
        self.towers = StageTowers(
            towers,
            text,
            image,
            self.texts,
            image_reader(self.images),
            InputSettings(max_tokens=512),
            CacheSettings(),
            folder / "cache",
            torch.device("cpu"),
        )
        self.path = read.path

    def drawn(self) -> list[DrawnImage]:
        views = [ImageView(CaptionedImage(name, name, lambda raw=raw: raw, {}), None) for name, raw in photos().items()]
        return [DrawnImage(view, self.towers.reader.crop(view), "") for view in views]

    @torch.no_grad()
    def text_vectors(self) -> NDArray[np.float32]:
        return self.towers.encode(self.towers.text_input(self.towers.tokenize(TEXTS), len(TEXTS))).numpy()

    @torch.no_grad()
    def image_vectors(self) -> NDArray[np.float32]:
        drawn = self.drawn()
        return self.towers.encode(self.towers.image_input(drawn, len(drawn), None)).numpy()


FULL, FROZEN = TowerPlan(), TowerPlan(train="frozen")


@pytest.mark.parametrize("name", PREPARATIONS)
def test_crops_are_the_pixels_that_an_encoder_prepares(name: str, tmp_path: Path) -> None:
    opened = Opened(tmp_path, PREPARATIONS[name], FULL, FULL)
    drawn = opened.drawn()
    pixels = opened.towers.pixels(opened.towers.image_input(drawn, len(drawn), None).rows[0])
    encoder = babelclip.load(opened.path, runtime="torch")
    for number, (photo, raw) in enumerate(photos().items()):
        assert np.array_equal(pixels[number].numpy(), opened.images(raw)), photo
    expected = encoder.encode_image(list(photos().values()), normalize=False)
    np.testing.assert_allclose(opened.image_vectors(), expected, atol=1e-5)


def test_token_ids_are_those_that_an_encoder_prepares(tmp_path: Path) -> None:
    opened = Opened(tmp_path, PREPARATIONS["whole"], FULL, FULL)
    expected = opened.texts.batch(opened.texts.tokenize(TEXTS).token_ids)
    (ids,) = opened.towers.text_input(opened.towers.tokenize(TEXTS), len(TEXTS)).rows
    assert np.array_equal(ids.numpy(), expected.token_ids)
    assert ids.shape[1] == MAX_TOKENS  # the model's own limit, below the stage's


@pytest.mark.filterwarnings("ignore::babelclip.errors.TruncationWarning")
@pytest.mark.parametrize("plan", [FULL, FROZEN])
def test_vectors_of_texts_are_those_of_the_written_model(plan: TowerPlan, tmp_path: Path) -> None:
    opened = Opened(tmp_path, PREPARATIONS["whole"], plan, FULL)
    expected = babelclip.load(opened.path, runtime="torch").encode_text(TEXTS, normalize=False)
    np.testing.assert_allclose(opened.text_vectors(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("plan", "trunk", "least"),
    [
        (FULL, True, 1e-5),
        (FROZEN, True, 1e-5),
        (FROZEN, False, 1e-5),
        (TowerPlan(frozen_blocks=1), True, 5e-3),  # features are kept in float16
        (TowerPlan(frozen_blocks=2), True, 5e-3),
        (TowerPlan(train="lora", rank=2), True, 5e-3),
    ],
)
def test_vectors_of_images_are_those_of_the_written_model(
    plan: TowerPlan, trunk: bool, least: float, tmp_path: Path
) -> None:
    opened = Opened(tmp_path, PREPARATIONS["squashed, upright, on white"], FULL, plan, trunk=trunk)
    expected = babelclip.load(opened.path, runtime="torch").encode_image(list(photos().values()), normalize=False)
    for _ in range(2):  # computed, and found again
        np.testing.assert_allclose(opened.image_vectors(), expected, atol=least)
