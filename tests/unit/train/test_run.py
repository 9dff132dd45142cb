"""Training on from a model folder, as a newcomer does it: held-out figures, layouts, number types, mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import babelclip
from babelclip.bundled import bundled_folder
from babelclip.checkpoint.convert import load_towers, state_tensors
from babelclip.checkpoint.folder import read_folder
from babelclip.cli.main import USAGE, run
from babelclip.errors import ConfigError, DatasetError
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.train.held_out import Measured, compare
from babelclip.train.live_encoder import live_encoder
from babelclip.train.recipe import Recipe, find_recipe, read_recipe
from babelclip.train.run import RunOptions, interpolate, train
from babelclip.train.start_model import start_model
from babelclip.train.tower_plan import TowerPlan, prepare_tower, release_tower

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "tests" / "fixtures" / "goldens" / "v2_a"
COLORS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20), "white": (240, 240, 240)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["image,caption,language"]
    for number in range(40):
        color = list(COLORS)[number % 4]
        noise = generator.integers(-15, 15, (40, 40, 3))
        pixels = np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,a {color} square {number},en")
    (folder / "captions.csv").write_text("\n".join(lines))
    return folder


def recipe(name: str = "finetune-lora", tmp_path: Path | None = None, **changes: str) -> Recipe:
    """One of the project's own, with fewer steps and smaller batches."""
    text = find_recipe(name).read_text()
    small = {
        "steps = 120": "steps = 4",
        "steps = 300": "steps = 4",
        "batch = 64": "batch = 8",
        "batch = 256": "batch = 8",
    }
    for old, new in {**small, "piece = 32": "piece = 4", "held_out = 0.1": "held_out = 0.25", **changes}.items():
        text = text.replace(old, new)
    assert tmp_path is not None
    (tmp_path / "r.toml").write_text(text)
    return read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize("name", ["finetune-lora", "finetune-full"])
def test_a_published_model_is_tuned_and_written_back(photos: Path, tmp_path: Path, name: str) -> None:
    said: list[str] = []
    model = read_folder(PUBLISHED)
    out = train(recipe(name, tmp_path), model, photos, tmp_path / "out", RunOptions(say=said.append))
    tuned = read_folder(out)
    assert (tuned.layout, tuned.config, tuned.text_prepare) == (model.layout, model.config, model.text_prepare)
    index, before = tuned.tensor_index(), model.tensor_index()
    assert {key: entry.dtype for key, entry in index.items()} == {key: entry.dtype for key, entry in before.items()}
    texts = ["a red square", "ein blauer Hund"]
    vectors = babelclip.load(out, runtime="torch").encode_text(texts)
    assert not np.allclose(vectors, babelclip.load(PUBLISHED, runtime="torch").encode_text(texts), atol=1e-4)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["text_to_image_recall@5"]["queries"] == 10
    assert (tmp_path / "out" / "train.png").stat().st_size > 1000
    assert any("parameters are trained" in line for line in said)
    assert any(line.startswith("training on cpu") for line in said)
    assert any("only 10 images are held out" in line for line in said)


def test_a_resumed_run_ends_at_the_same_model(photos: Path, tmp_path: Path) -> None:
    model, plan = read_folder(PUBLISHED), recipe("finetune-lora", tmp_path)
    first = train(plan, model, photos, tmp_path / "out", RunOptions())
    weights = (first / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="--resume"):
        train(plan, model, photos, tmp_path / "out", RunOptions())
    train(plan, model, photos, tmp_path / "out", RunOptions(resume=True))
    assert (first / "model.safetensors").read_bytes() == weights


def test_frozen_towers_stay_and_a_share_of_the_change_is_kept(photos: Path, tmp_path: Path) -> None:
    frozen = {'text = { train = "lora", rank = 8, alpha = 16.0 }': 'text = { train = "frozen" }'}
    model = read_folder(PUBLISHED)
    out = train(recipe("finetune-lora", tmp_path, **frozen), model, photos, tmp_path / "out", RunOptions())
    before, after = (state_tensors(load_towers(folder, adapters="live")) for folder in (model, read_folder(out)))
    changed = {key.split(".")[0] for key, tensor in after.items() if not torch.equal(tensor, before[key])}
    assert changed == {"vision"}
    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    wanted = 0.25 * one.weight.detach() + 0.75 * two.weight.detach()
    interpolate(one, two, 0.25)
    torch.testing.assert_close(one.weight.detach(), wanted)


def test_another_image_size_is_written_into_the_model(photos: Path, tmp_path: Path) -> None:
    model = read_folder(PUBLISHED)
    assert model.config.vision is not None
    size = 2 * model.config.vision.image_size
    plan = recipe("finetune-lora", tmp_path, **{"piece = 32": f"piece = 4\nimage_size = {size}"})
    tuned = read_folder(train(plan, model, photos, tmp_path / "out", RunOptions()))
    assert tuned.config.vision is not None
    assert tuned.image_prepare is not None
    assert tuned.config.vision.image_size == tuned.image_prepare.size == size
    vectors = babelclip.load(tuned.path, runtime="torch").encode_image([photos / "0.png"])
    assert np.isfinite(vectors).all()


def test_checkpointed_blocks_have_the_same_gradients() -> None:
    found = []
    for plan in (TowerPlan(), TowerPlan(checkpoint=True)):
        tower = load_towers(read_folder(PUBLISHED), adapters="live").text
        prepare_tower(tower, plan)
        tower(torch.arange(4, 12)[None]).sum().backward()
        found.append({name: p.grad for name, p in tower.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():  # attention's kernel may sum in another order when it is computed again
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-5)


def test_a_released_tower_is_as_plain_as_before() -> None:
    tower = load_towers(read_folder(PUBLISHED), adapters="live").text
    names, forward = set(tower.state_dict()), type(tower.blocks[0]).forward
    for _ in range(2):
        prepare_tower(tower, TowerPlan(train="lora", checkpoint=True))
        assert "forward" in vars(tower.blocks[0])
        release_tower(tower)
        assert set(tower.state_dict()) == names
        assert tower.blocks[0].forward.__func__ is forward


def test_a_broken_held_out_image_is_left_out(photos: Path, tmp_path: Path) -> None:
    (photos / "3.png").write_bytes(b"nothing")  # the first that is held out
    plan = recipe("finetune-lora", tmp_path)
    train(plan, read_folder(PUBLISHED), photos, tmp_path / "out", RunOptions())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["text_to_image_recall@5"]["queries"] == 9


def test_the_same_seed_begins_with_the_same_weights(tmp_path: Path) -> None:
    plan = read_recipe(find_recipe("nano"))
    tokenizer = bundled_folder() / "tokenizer.json"
    one, two = (start_model(plan, None, tokenizer, tmp_path, tmp_path / name) for name in ("one", "two"))
    assert (one.path / "model.safetensors").read_bytes() == (two.path / "model.safetensors").read_bytes()


def test_a_live_encoder_is_the_shipped_path() -> None:
    folder = read_folder(PUBLISHED)
    assert folder.image_prepare is not None
    towers = load_towers(folder, adapters="live")
    texts, images = TextPreparer(folder.tokenizer_file, folder.text_prepare), ImagePreparer(folder.image_prepare)
    live = live_encoder(towers, texts, images, torch.device("cpu"))
    shipped = babelclip.load(PUBLISHED, runtime="torch")
    texts, image = (
        ["a red square", "x", "ein langer Satz mit mehreren Wörtern"],
        Image.new("RGB", (30, 50), (9, 90, 200)),
    )
    np.testing.assert_allclose(live.encode_text(texts, dim=16), shipped.encode_text(texts, dim=16), atol=1e-5)
    np.testing.assert_allclose(live.encode_image([image]), shipped.encode_image([image]), atol=1e-5)
    np.testing.assert_allclose(live.encode_text("x"), shipped.encode_text("x"), atol=1e-5)


def test_a_difference_is_paired() -> None:
    ranks, images = np.array([0, 7, 9, 20]), np.array([0, 30])
    before = Measured(ranks, images, np.array([0, 0, 1, 1]))
    after = Measured(np.array([0, 3, 4, 20]), images, np.array([0, 0, 1, 1]))
    found = compare(before, after, seed=0)["text_to_image_recall@5"]
    assert (found["before"], found["after"], found["difference"]) == (25.0, 75.0, 50.0)
    assert (found["low"], found["high"]) == (50.0, 50.0)  # both images gained one of two captions


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('kind = "contrast"', 'kind = "contrasts"', "contrasts"),
        ('train = "lora"', 'train = "lorra"', "expected one of 'full', 'lora', 'frozen'"),
        ('train = "lora", rank = 8, alpha = 16.0', 'train = "frozen"', "both frozen"),
        ("alpha = 16.0", "alpha = 16.0, layer_decay = 0.5", "contradict each other"),
        ("interpolation = 0.5", "interpolation = 0.0", "interpolation 0.0"),
        ("max_tokens = 77", "max_token = 77", "unknown max_token"),
        ("batch = 64", 'batch = "many"', "expected a whole number"),
        ('name = "captions"\ndraws', "draws", "missing name"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    text = find_recipe("finetune-lora").read_text()
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=named):
        read_recipe(tmp_path / "r.toml")


def test_recipes_are_found_by_name_and_others_are_listed() -> None:
    assert find_recipe("small").name == "small.toml"
    with pytest.raises(ConfigError, match="finetune-full, finetune-lora, large/release, nano, small"):
        find_recipe("tiny")


def test_a_model_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes, out = tmp_path / "shapes", tmp_path / "out"
    program = [sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(shapes), "--number", "40"]
    subprocess.run(program, check=True)
    text = find_recipe("nano").read_text()
    for old, new in {"steps = 800": "steps = 3", "batch = 128": "batch = 16"}.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nano.toml").write_text(text)
    assert run(["train", str(tmp_path / "nano.toml"), "--data", str(shapes), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "model")
    encoder = babelclip.load(out / "model", runtime="torch")
    assert encoder.encode_text(["ein rotes Quadrat"]).shape == (1, 128)
    assert encoder.encode_image([shapes / "00000.png"], dim=32).shape == (1, 32)
    report = json.loads((out / "report.json").read_text())
    assert report["text_to_image_recall@5"]["queries"] == 4 * 6  # six languages
    card = (out / "model" / "README.md").read_text()
    assert f"(24 queries) | {report['text_to_image_recall@5']['after']:.1f}; before" in card


def test_torchrun_gives_the_losses_of_one_process(tmp_path: Path) -> None:
    shapes = tmp_path / "shapes"
    program = [sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(shapes), "--number", "40"]
    subprocess.run(program, check=True)
    text = find_recipe("nano").read_text().replace("steps = 800", "steps = 3").replace("batch = 128", "batch = 16")
    (tmp_path / "nano.toml").write_text(text)
    losses = []
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        out = tmp_path / f"out-{len(launcher)}"
        command = [sys.executable, *launcher, "-m", "babelclip", "train", str(tmp_path / "nano.toml")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--data", str(shapes), "--out", str(out)], check=True, capture_output=True, env=environment
        )
        assert done.stdout.decode().strip() == str(out / "model")  # said once, not by every process
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert losses[0][0] == pytest.approx(losses[1][0], abs=2e-5)


def test_a_recipe_that_needs_a_model_says_so(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "finetune-lora", "--data", str(photos), "--out", str(tmp_path / "o")]) == USAGE
    assert "--model" in capsys.readouterr().err
    assert run(["train", "tiny", "--data", str(photos)]) == USAGE


def test_data_that_are_not_there(tmp_path: Path) -> None:
    plan = recipe("finetune-lora", tmp_path)
    with pytest.raises(DatasetError, match="photos"):
        train(plan, read_folder(PUBLISHED), tmp_path / "photos", tmp_path / "out", RunOptions())
