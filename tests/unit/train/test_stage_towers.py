"""Towers of a stage: cut or whole they give the same vectors, what is frozen is computed once, dropped is not seen."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "invariants"))
from training_stages import FROZEN, ROWS, VIEWS, WIDTH, open_tiny, tiny_model, write_data

from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import read_folder
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import ConvStage, ConvTrunkConfig, DualConfig, Eva02VisionConfig
from babelclip.towers.dual import DualEncoder
from babelclip.train.data.image_sampler import DrawnImage, ImageView, ViewSettings
from babelclip.train.data.sources import Sources
from babelclip.train.engine.batch import TowerInput
from babelclip.train.engine.distributed import ONE_PROCESS
from babelclip.train.engine.loop import Engine, StageRun
from babelclip.train.engine.optimizer import OptimizerSettings
from babelclip.train.frozen_outputs import FrozenOutputs
from babelclip.train.open_stage import Workshop, open_stage
from babelclip.train.stage import Stage
from babelclip.train.stage_towers import StageTowers

PUBLISHED = Path(__file__).parents[2] / "fixtures" / "goldens" / "v2_a"
SIZE, BLOCKS = 48, 3  # 48 pixels a side; a trunk of three blocks at stride 8: 36 positions
PREPARE = ImagePrepareConfig(size=SIZE, resize_mode="squash")
CUTS: dict[str, dict[str, Any]] = {
    "a block": {"frozen_blocks": 1},
    "two blocks": {"frozen_blocks": 2},
    "the trunk": {"frozen_blocks": BLOCKS},
    "the trunk of an adapted tower": {"train": "lora"},
    "the tower": FROZEN,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("towers") / "data")


@pytest.fixture(autouse=True)
def no_old_cache(data: Path) -> None:
    shutil.rmtree(data / "cache", ignore_errors=True)


def conv_model() -> DualEncoder:
    """As ``tiny_model``, the image tower on a convolutional trunk with a classifier, as the small model has it."""
    trunk = ConvTrunkConfig(
        stem_width=8,
        stages=(
            ConvStage(kernel=3, stride=2, expansion=2, width=8, repeats=1),
            ConvStage(kernel=3, stride=2, expansion=2, width=12, repeats=2),
        ),
        head_width=24,
        classes=7,
    )
    vision = Eva02VisionConfig(
        image_size=SIZE, width=WIDTH, num_layers=2, head_width=8, hidden=20, pretrained_grid=6, patches=trunk
    )
    text = tiny_model().config.text
    torch.manual_seed(3)
    model = DualEncoder(DualConfig(text=text, vision=vision, dims=(4, WIDTH)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
        assert model.vision is not None
        model.vision.patches.class_embedding.weight.mul_(10.0)  # a classifier that says something
    return model


def contrast(**more: Any) -> dict[str, Any]:
    draws = [{"sources": {"photos": 1.0}, "batch": ROWS}]
    return {"kind": "contrast", "name": "contrast", "draws": draws, "views": VIEWS, **more}


def conv_stage(data: Path, image: dict[str, Any], **more: Any) -> Stage:
    cache = more.pop("cache", None)
    stage = {"objectives": [contrast(**more.pop("objective", {}))], "image": image, **more}
    return open_tiny(stage, data, dtype=torch.float32, model=conv_model(), image_prepare=PREPARE, cache=cache)


def image_vectors(stage: Stage, step: int = 0) -> tuple[TowerInput, Tensor]:
    rows = stage.draw(step, ONE_PROCESS).inputs[0]
    with torch.no_grad():
        return rows, stage.encode(rows)


# ---------------------------------------------------------------- cuts


@pytest.mark.parametrize("keep", [1.0, 0.4])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_tower_gives_the_vectors_of_the_uncut_one(data: Path, cut: str, keep: float) -> None:
    inputs = {"keep_patches": keep}
    whole = image_vectors(conv_stage(data, {}, inputs=inputs if cut != "the tower" else {}))
    rows, found = image_vectors(conv_stage(data, CUTS[cut], inputs=inputs))
    assert whole[0].kind == "image"
    assert rows.kind == ("vectors" if cut == "the tower" else "image features")
    assert (rows.positions is None) == (keep == 1.0 or cut == "the tower")
    assert rows.rows[0].dtype == (torch.float32 if cut == "the tower" else torch.float16)
    apart, spread = (found - whole[1]).abs().max(), (whole[1] - whole[1].roll(1, 0)).abs().max()
    assert apart <= (1e-5 if rows.kind == "vectors" else 1e-3) * spread


def test_what_lies_below_the_cut_does_not_learn(data: Path) -> None:
    stage = conv_stage(data, CUTS["two blocks"])
    assert [len(list(part.parameters())) > 0 for part in stage.towers.frozen_modules()] == [True, True]
    assert not any(p.requires_grad for part in stage.towers.frozen_modules() for p in part.parameters())
    before = {name: parameter.clone() for name, parameter in stage.module.vision.named_parameters()}
    StageRun(stage, OptimizerSettings(learning_rate=1e-2), Engine()).step(1e-2)
    moved = {n for n, p in stage.module.vision.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {name for name, p in stage.module.vision.named_parameters() if p.requires_grad}
    assert any(name.startswith("patches.trunk.blocks.2.") for name in moved)
    assert not any(name.startswith(("patches.trunk.stem", "patches.trunk.blocks.0.")) for name in moved)


# ---------------------------------------------------------------- computed once


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that frozen parts are asked to compute."""
    found: list[str] = []
    of = FrozenOutputs.of

    def counted(self: FrozenOutputs, keys: Sequence[str], compute: Any, *more: Any, **options: Any) -> Tensor:
        def told(places: Sequence[int]) -> Tensor:
            found.extend(keys[place] for place in places)
            return compute(places)

        return of(self, keys, told, *more, **options)

    monkeypatch.setattr(FrozenOutputs, "of", counted)
    return found


def test_every_view_is_computed_once(data: Path, computed: list[str]) -> None:
    views = {"views": {"views": 2}}
    stage = conv_stage(data, CUTS["the trunk"], objective=views)
    for step in range(12):
        stage.draw(step, ONE_PROCESS)
    assert len(computed) == len(set(computed)) == 20  # two views of ten pictures


def test_a_view_that_is_known_is_not_read_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = conv_stage(data, CUTS["the trunk"])
    for step in range(6):
        stage.draw(step, ONE_PROCESS)
    monkeypatch.setattr(type(stage.towers.reader), "crop", lambda self, view: pytest.fail("read again"))
    stage.draw(6, ONE_PROCESS)


def test_every_text_of_a_frozen_tower_is_computed_once(data: Path, computed: list[str]) -> None:
    stage = open_tiny({"objectives": [contrast(extra_negatives=8)], "text": FROZEN}, data)
    for step in range(12):
        stage.draw(step, ONE_PROCESS)
    assert len(computed) == len(set(computed)) == 30  # three captions of ten pictures


def test_nothing_is_kept_without_room_and_the_vectors_are_the_same(data: Path, computed: list[str]) -> None:
    bare = conv_stage(data, CUTS["the trunk"], cache={"memory_gb": 0.0})
    kept = conv_stage(data, CUTS["the trunk"])
    for step in range(3):
        assert torch.equal(image_vectors(bare, step)[1], image_vectors(kept, step)[1])
    assert len(computed) > 2 * 10


def test_another_stage_finds_them_on_disk_unless_weights_or_preparation_differ(data: Path, computed: list[str]) -> None:
    cache = {"disk_gb": 1.0}

    def draw_all(cut: str, change: float = 0.0, prepare: ImagePrepareConfig = PREPARE) -> int:
        model = conv_model()
        assert model.vision is not None
        with torch.no_grad():
            model.vision.patches.trunk.stem.bias += change
        plan = {"objectives": [contrast()], "image": CUTS[cut], "text": FROZEN}
        plan = plan | ({"text": {}} if cut == "the tower" else {})
        stage = open_tiny(plan, data, dtype=torch.float32, model=model, image_prepare=prepare, cache=cache)
        before = len(computed)
        for step in range(6):
            stage.draw(step, ONE_PROCESS)
        stage.towers.flush()
        return sum(" None" in key for key in computed[before:])  # those of images

    assert [draw_all("the trunk"), draw_all("the trunk")] == [10, 0]
    assert draw_all("two blocks") == 10
    assert draw_all("the trunk", change=0.01) == 10
    assert draw_all("the trunk", prepare=replace(PREPARE, resize_mode="shortest")) == 10


# ---------------------------------------------------------------- patch dropout


def test_dropped_patches_are_not_seen(data: Path) -> None:
    for make, size, patch in ((lambda: tiny_model(), 12, 4), (conv_model, SIZE, 8)):
        prepare = ImagePrepareConfig(size=size, resize_mode="squash")
        stage = open_tiny(
            {"objectives": [contrast()], "inputs": {"keep_patches": 0.5}}, data,
            dtype=torch.float32, model=make(), image_prepare=prepare,
        )  # fmt: skip
        side = size // patch
        crops = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
        changed = crops.clone()
        changed[:, -1:, -1:] = 255 - changed[:, -1:, -1:]  # one pixel of the last patch
        far = torch.tensor([0, 1, side])  # a trunk's positions see their surroundings, without that pixel
        with torch.no_grad():
            one, other = (
                [stage.encode(TowerInput("image", (rows,), 2, positions)) for positions in (far, None)]
                for rows in (crops, changed)
            )
            every = stage.encode(TowerInput("image", (crops,), 2, torch.arange(side**2)))
        torch.testing.assert_close(one[0], other[0], atol=1e-6, rtol=0)
        assert (one[1] - other[1]).abs().max() > 1e-5
        torch.testing.assert_close(every, one[1], atol=1e-5, rtol=1e-5)


def test_positions_are_of_the_step_and_sometimes_all(data: Path) -> None:
    inputs = {"keep_patches": 0.4, "whole_share": 0.3}
    towers = conv_stage(data, {}, inputs=inputs).towers
    found = [towers.positions(step, 0) for step in range(60)]
    again = [conv_stage(data, {}, inputs=inputs).towers.positions(step, 0) for step in (7, 3)]
    for one, other in zip((found[7], found[3]), again, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    some = [positions for positions in found if positions is not None]
    assert 5 < len(found) - len(some) < 35
    assert {len(positions) for positions in some} == {round(36 * 0.4)}
    assert len({tuple(positions.tolist()) for positions in some}) == len(some)
    assert all(positions.tolist() == sorted(set(positions.tolist())) for positions in some)


# ---------------------------------------------------------------- a published model, with live adapters


def test_a_model_with_live_adapters_trains(data: Path) -> None:
    folder = read_folder(PUBLISHED)
    assert folder.image_prepare is not None
    towers = load_towers(folder, adapters="live")
    assert towers.config.text.adapters is not None
    recipe = open_recipe(data)
    workshop = Workshop(
        recipe,
        Sources(recipe.data, data, 0.0),
        data,
        data / "cache",
        TextPreparer(folder.tokenizer_file, folder.text_prepare),
        ImagePreparer(folder.image_prepare),
        torch.device("cpu"),
    )
    stage = open_stage(recipe.stages[0], towers, workshop)
    texts = stage.draw(0, ONE_PROCESS).inputs[1]
    assert len(texts.rows) == 2  # token ids, and which adapter each row takes
    before = {name: parameter.clone() for name, parameter in towers.named_parameters()}
    run = StageRun(stage, OptimizerSettings(learning_rate=1e-2), Engine())
    losses = [float(run.step(1e-3)[0]) for _ in range(12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    moved = {name for name, parameter in towers.named_parameters() if not torch.equal(parameter, before[name])}
    assert any(name.startswith("text.blocks.") for name in moved)
    assert any(name.startswith("vision.blocks.") for name in moved)


def open_recipe(data: Path) -> Any:
    from training_stages import DATA

    from babelclip.decode import decode
    from babelclip.train.recipe import Recipe

    stage = {"name": "s", "budget": {"steps": 1}, "optimizer": {"learning_rate": 1e-3}, "objectives": [contrast()]}
    return replace(decode(Recipe, {"data": DATA, "stages": [stage], "held_out": 0.0}, "tiny"), folder=data)


def test_images_need_an_image_tower(data: Path) -> None:
    with pytest.raises(ConfigError, match="needs an image tower, which this model has not"):
        open_tiny({"objectives": [contrast()]}, data, model=tiny_model(vision=False)).draw(0, ONE_PROCESS)


def test_a_known_view_is_what_comes_again(data: Path) -> None:
    towers: StageTowers = conv_stage(data, CUTS["the trunk"]).towers
    sources = Sources(open_recipe(data).data, data, 0.0)
    image = sources.images("photos")[0]
    view = ImageView(image, None)
    plain, fresh = ViewSettings(augment=False), ViewSettings()
    assert not towers.is_known(plain, view)
    towers.frozen_image_outputs([DrawnImage(view, towers.reader.crop(view), "")])
    assert towers.is_known(plain, view)
    assert not towers.is_known(fresh, view)
