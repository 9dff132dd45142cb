"""Contrastive tasks over both towers: what is drawn, what is compared, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from babelclip.errors import ConfigError, DatasetError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import DualConfig, LinearPatchesConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer, start_vision
from babelclip.train.contrast_stage import ContrastStage
from babelclip.train.data.captioned import open_captioned
from babelclip.train.data.collate import Collator, ContrastSettings, draw_caption, key_of
from babelclip.train.data.text_rows import read_text_rows
from babelclip.train.losses import symmetric_info_nce
from babelclip.train.spread import Ranks
from babelclip.train.tasks import Task, TaskSettings, Temperature

TOKENIZER = Path(__file__).parents[2] / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"
COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20), "white": (240, 240, 240)}
WIDTH = 16


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve pictures of one colour each, and what they are called; pairs and triplets of colours."""
    lines = []
    for number in range(12):
        colour = list(COLOURS)[number % 4]
        Image.new("RGB", (20, 20), COLOURS[colour]).save(tmp_path / f"{number}.png")
        lines.append({"image": f"{number}.png", "captions": {"en": [f"{colour}"], "de": [f"{colour} bild"]}})
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    rows = [
        {"anchor": a, "positive": f"{a} one", "negatives": [b, f"{b} one"], "score": 0.5, "scores": [2, 0, -1]}
        for a in COLOURS
        for b in COLOURS
        if a != b
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def model() -> DualEncoder:
    vocabulary = len(json.loads(TOKENIZER.read_text())["model"]["vocab"]) + 1
    text = TextTowerConfig(
        vocab_size=vocabulary, width=WIDTH, num_layers=1, num_heads=2, hidden=24, embed_dim=WIDTH, rotary_base=1e4
    )
    vision = VisionTowerConfig(
        image_size=12, width=WIDTH, num_layers=1, head_width=8, hidden=20, patches=LinearPatchesConfig(size=4),
        pretrained_grid=3,
    )  # fmt: skip
    torch.manual_seed(0)
    towers = DualEncoder(DualConfig(text=text, vision=vision, dims=(4, WIDTH)))
    start_transformer(towers.text, deviation=0.2)
    assert towers.vision is not None
    start_vision(towers.vision, deviation=0.2)
    return towers


IMAGES = TaskSettings(kind="image_text", batch=6, loss="info_nce", dims=(8, WIDTH))
PAIRS = TaskSettings(kind="text_pairs", batch=5, loss="info_nce", dims=(8, WIDTH))


def task(data: Path, settings: TaskSettings, name: str = "task") -> Task:
    if settings.kind == "image_text":
        return Task(name, settings, (open_captioned(data),), (1.0,))
    scored = settings.kind == "scored_pairs"
    return Task(
        name, settings, (read_text_rows(data / "rows.jsonl", negatives=settings.negatives, scored=scored),), (1.0,)
    )


def make_stage(*tasks: Task, **settings: float) -> ContrastStage:
    towers = model()
    texts = TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=77))
    images = ImagePreparer(ImagePrepareConfig(size=12, resize_mode="squash"))
    collator = Collator(tasks, towers.config, texts, images, ContrastSettings(**settings))
    return ContrastStage("c", towers, tasks, collator)


@pytest.mark.parametrize(
    "settings",
    [
        IMAGES,
        replace(IMAGES, loss="sigmoid"),
        PAIRS,
        TaskSettings(kind="triplets", batch=4, loss="hard_negatives", negatives=2, directions="sum"),
        TaskSettings(kind="triplets", batch=4, loss="scores", negatives=2),
        TaskSettings(kind="scored_pairs", batch=4, loss="cosent"),
    ],
)
def test_every_task_lowers_its_loss(data: Path, settings: TaskSettings, loss_of) -> None:
    stage = make_stage(task(data, settings))
    optimiser = torch.optim.Adam([*stage.module.parameters(), *stage.head.parameters()], lr=3e-3)
    losses = []
    for step in range(30):
        loss, figures = loss_of(stage, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        widths = {f"task {dim}" for dim in settings.dims}
        assert set(figures) == {"task", "task scale"} | widths
        if widths:
            assert figures["task"] == pytest.approx(np.mean([figures[width] for width in widths]), rel=1e-5)
    if settings.loss != "cosent":  # all scores are equal there: nothing to order, so nothing to learn
        assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_ranks_prepare_the_rows_that_one_process_would(data: Path) -> None:
    tasks = task(data, IMAGES, "images"), task(data, PAIRS, "pairs")
    collator = make_stage(*tasks, keep_patches=0.5).collator
    for place, one in enumerate(tasks):
        whole, labels = collator.share(place, 3, Ranks())
        for rank in range(2):
            share = Ranks(rank, 2).share(one.settings.batch)
            parts, own = collator.share(place, 3, Ranks(rank, 2))
            assert torch.equal(own.keys, labels.keys[share])
            for part, expected in zip(parts, whole, strict=True):
                rows = expected.rows[0][share]
                if part.kind == "text":  # a rank's own rows may be shorter
                    rows = rows[:, : part.rows[0].shape[1]]
                assert torch.equal(part.rows[0], rows)
                assert part.keep is None or torch.equal(part.keep, expected.keep)


def test_a_unified_batch_is_one_matrix(data: Path) -> None:
    tasks = [task(data, replace(s, unified=True), n) for s, n in ((IMAGES, "images"), (PAIRS, "pairs"))]
    stage = make_stage(*tasks)
    batch = stage.draw(0, Ranks())
    vectors = [stage.encode(part) for part in batch.parts]
    loss, figures = stage.loss(vectors, batch)
    left, right = torch.cat([vectors[0], vectors[2]]), torch.cat([vectors[1], vectors[3]])
    keys, scale = torch.cat([own.keys for own in batch.labels]), stage.head.scale("images")
    expected = [symmetric_info_nce(left[:, :dim], right[:, :dim], keys, scale) for dim in (8, WIDTH)]
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert set(figures) == {"images", "images 8", f"images {WIDTH}", "images scale"}


def test_what_does_not_go_together_is_named(data: Path) -> None:
    with pytest.raises(ConfigError, match="'cosent' does not go with kind 'image_text'"):
        replace(IMAGES, loss="cosent")
    with pytest.raises(ConfigError, match="negatives 2 contradict"):
        replace(PAIRS, negatives=2)
    with pytest.raises(ConfigError, match="differ in length"):
        replace(PAIRS, dim_weights=(1.0,))
    with pytest.raises(ConfigError, match="no place in a unified batch"):
        TaskSettings(kind="scored_pairs", batch=4, loss="cosent", unified=True)
    with pytest.raises(ConfigError, match="at most its most"):
        Temperature(start=200.0)
    other = replace(PAIRS, unified=True, weight=2.0)
    with pytest.raises(ConfigError, match="images and pairs differ in weight"):
        make_stage(task(data, replace(IMAGES, unified=True), "images"), task(data, other, "pairs"))


def test_temperatures_are_fixed_learned_and_clamped(data: Path) -> None:
    fixed = Temperature(start=20.0, learned=False)
    stage = make_stage(task(data, replace(IMAGES, temperature=fixed), "fixed"), task(data, PAIRS, "learned"))
    assert not stage.head.log_scales["fixed"].requires_grad
    assert stage.head.log_scales["learned"].requires_grad
    assert stage.head.scale("fixed").item() == pytest.approx(20.0)
    stage.head.log_scales["learned"].data.fill_(9.0)
    assert stage.head.scale("learned").item() == pytest.approx(100.0)


def test_a_broken_image_costs_its_row_and_is_named(data: Path) -> None:
    (data / "3.png").write_bytes(b"nothing")
    stage = make_stage(task(data, replace(IMAGES, batch=12)))
    for step in range(3):
        assert stage.draw(step, Ranks()).parts[0].rows[0].shape[0] == 12
    assert list(stage.collator.failures) == [str(data / "3.png")]
    for number in range(12):
        (data / f"{number}.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="20 images of one source in turn cannot be read"):
        stage.draw(9, Ranks())


def test_dropped_patches_are_not_seen_and_all_kept_are_the_whole(data: Path) -> None:
    tower = model().vision
    assert tower is not None
    pixels, keep = torch.randn(2, 3, 12, 12), torch.tensor([0, 5])
    changed = pixels.clone()
    changed[:, :, 8:, :4] = 9.0  # position 6
    with torch.inference_mode():
        seen, other = tower.patches(pixels), tower.patches(changed)
        torch.testing.assert_close(tower.encode_tokens(seen, torch.arange(9)), tower(pixels))
        torch.testing.assert_close(tower.encode_tokens(seen[:, keep], keep), tower.encode_tokens(other[:, keep], keep))
        assert not torch.allclose(tower.encode_tokens(seen), tower.encode_tokens(other))


def test_few_views_come_again_and_are_the_same(data: Path) -> None:
    def crops(views: int, steps: int) -> set[bytes]:
        stage = make_stage(task(data, replace(IMAGES, batch=12, views=views)))
        return {crop.numpy().tobytes() for step in range(steps) for crop in stage.draw(step, Ranks()).parts[0].rows[0]}

    for number in range(12):  # pictures whose views differ
        ramp = np.linspace(0, 20 * number + 10, 20 * 20 * 3).reshape(20, 20, 3).astype(np.uint8)
        Image.fromarray(ramp).save(data / f"{number}.png")
    assert crops(2, 12) == crops(2, 30)
    assert len(crops(2, 30)) <= 24
    assert len(crops(0, 12)) > 100
    with pytest.raises(ConfigError, match="views = 3 and augment = False"):
        replace(IMAGES, views=3, augment=False)


def test_captions_are_drawn_by_language_and_english_has_its_share() -> None:
    captions = {"en": ["a"], "de": ["b", "c"], "fr": []}
    generator = np.random.default_rng(0)
    drawn = [draw_caption(captions, generator, 0.0) for _ in range(4000)]
    assert drawn.count("a") / 4000 == pytest.approx(0.5, abs=0.03)
    assert drawn.count("b") / 4000 == pytest.approx(0.25, abs=0.03)
    assert [draw_caption(captions, generator, 1.0) for _ in range(5)] == ["a"] * 5
    assert draw_caption({"zh": ["x"]}, generator, 1.0) == "x"


def test_equal_texts_have_equal_keys() -> None:
    assert key_of(" A dog ") == key_of("a dog")
    assert key_of("a dog") != key_of("a cat")


def test_images_need_an_image_tower(data: Path) -> None:
    towers = model()
    texts = TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=77))
    with pytest.raises(ConfigError, match="task need an image tower"):
        Collator([task(data, IMAGES)], replace(towers.config, vision=None), texts, None, ContrastSettings())
