"""Every objective: what it draws, that it lowers its own loss, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[3] / "invariants"))
from training_stages import (
    ANCHOR,
    CLASS_NAMES,
    CLASSES,
    DISTILL,
    FROZEN,
    IMAGES,
    ROWS,
    SCORED,
    STAGES,
    TEXTS,
    TOKENS,
    VIEWS,
    WIDTH,
    WORDS,
    open_tiny,
    tiny_model,
    tiny_stage,
    write_data,
)

from babelclip.decode import decode
from babelclip.errors import ConfigError, DatasetError
from babelclip.train.data.image_sampler import DrawnImage, ImageView
from babelclip.train.data.stored_vectors import StoredVectors, write_stored_vectors
from babelclip.train.engine.batch import Batch, TowerInput
from babelclip.train.engine.distributed import ONE_PROCESS
from babelclip.train.engine.loop import Engine, StageRun
from babelclip.train.engine.optimizer import OptimizerSettings
from babelclip.train.objectives.losses import info_nce
from babelclip.train.objectives.objective import ScaledHead, Temperature, keys_of
from babelclip.train.objectives.text_draws import held_out_rows
from babelclip.train.recipe import Recipe
from babelclip.train.stage import Stage

STEPS = 25
PHOTOS = {"sources": {"photos": 1.0}, "batch": ROWS}


def contrast(**more: Any) -> dict[str, Any]:
    return {"kind": "contrast", "name": "contrast", "draws": [PHOTOS], "views": VIEWS, **more}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return write_data(tmp_path_factory.mktemp("objectives") / "data")


def draw(stage: Stage, step: int = 0) -> Batch:
    return stage.draw(step, ONE_PROCESS)


def loss_of(stage: Stage, step: int = 0) -> tuple[float, Mapping[str, Tensor | float]]:
    batch = draw(stage, step)
    with torch.no_grad():
        loss, figures = stage.loss([stage.encode(rows) for rows in batch.inputs], batch)
    return float(loss), figures


def same_input(one: TowerInput, other: TowerInput) -> bool:
    places = one.positions, other.positions
    return (
        one.kind == other.kind
        and all(torch.equal(a, b) for a, b in zip(one.rows, other.rows, strict=True))
        and (places[0] is None) == (places[1] is None)
        and (places[0] is None or torch.equal(*places))
    )


# ---------------------------------------------------------------- learning


def write_likeness(data: Path) -> str:
    """Scored pairs that can be learned: words that stand near each other in the list are alike."""
    rows = [
        {"anchor": a, "positive": b, "negatives": [a, b], "score": -abs(i - j) / len(WORDS), "language": "en"}
        for i, a in enumerate(WORDS)
        for j, b in enumerate(WORDS)
        if i != j
    ]
    (data / "alike.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "alike.jsonl"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lowers_its_loss(name: str, shared_data: Path) -> None:
    alike = {"rows": {"kind": "text_rows", "path": write_likeness(shared_data)}}
    sources = alike if name in ("scored pairs", "anchor of texts") else None
    stage, probed = tiny_stage(name, shared_data, dtype=torch.float32, sources=sources), range(6)
    before = np.mean([loss_of(stage, step)[0] for step in probed])
    run = StageRun(stage, OptimizerSettings(learning_rate=1e-2), Engine())
    for _ in range(STEPS):
        run.step(3e-3)
    after = np.mean([loss_of(stage, step)[0] for step in probed])
    assert after < 0.95 * before


# ---------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("name", STAGES)
def test_what_is_drawn_is_a_function_of_the_step_alone(name: str, shared_data: Path) -> None:
    one, other = tiny_stage(name, shared_data), tiny_stage(name, shared_data)
    forth = {step: draw(one, step) for step in (0, 1, 2, 6)}
    back = {step: draw(other, step) for step in (6, 2, 1, 0)}
    for step, batch in forth.items():
        assert all(same_input(a, b) for a, b in zip(batch.inputs, back[step].inputs, strict=True))
    a, b = draw(one, 0).inputs, draw(one, 6).inputs
    assert len(a) != len(b) or not all(
        x.rows[0].shape == y.rows[0].shape and same_input(x, y) for x, y in zip(a, b, strict=True)
    )


def test_shared_images_are_encoded_once(shared_data: Path) -> None:
    stage = tiny_stage("mean of captions", shared_data)
    kinds = [rows.kind for rows in draw(stage).inputs]
    assert kinds == ["image", "vectors"]  # of the images, and of their captions: the second objective adds none
    assert {asked.shared for asked in draw(stage).labels} == {None, 0}


def test_images_are_shared_with_what_draws_images_first(shared_data: Path) -> None:
    rows = {"sources": {"rows": 1.0}, "batch": ROWS}
    for draws in ([rows], [rows, PHOTOS]):
        mixed = contrast(draws=draws)
        with pytest.raises(ConfigError, match="'anchor' has images_of = 'contrast', which draws no images"):
            open_tiny({"objectives": [mixed, {**ANCHOR, "images_of": "contrast"}]}, shared_data)


def test_a_step_that_asks_nothing_is_refused() -> None:
    objectives = [{**SCORED, "every": 2}, {**SCORED, "name": "other", "every": 3}]
    stage = {"name": "s", "budget": {"steps": 1}, "optimizer": {"learning_rate": 1.0}, "objectives": objectives}
    with pytest.raises(ConfigError, match="every = 1"):
        decode(Recipe, {"data": {}, "stages": [stage]}, "tiny")


def stored(data: Path) -> StoredVectors:
    return StoredVectors.read(data / "teacher.npz")


def texts_of(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "texts.jsonl").read_text().splitlines()]


def test_a_texts_target_is_its_own(data: Path) -> None:
    """Every text has a target of its own here; a shuffle of either side is seen."""
    rows = [{"text": f"{word} {number}", "language": "en", "targets": [f"t{number}"]}
            for number, word in enumerate(WORDS * 2)]  # fmt: skip
    (data / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    vectors = np.random.default_rng(3).normal(size=(len(rows), 16)).astype(np.float32)
    write_stored_vectors(data / "own.npz", [f"t{number}" for number in range(len(rows))], vectors)
    own = {"own": {"kind": "texts", "path": "own.jsonl"}, "own_vectors": {"kind": "vectors", "path": "own.npz"}}
    objective = {**DISTILL, "texts": {"sources": {"own": 1.0}, "token_budget": 60}, "vectors": "own_vectors"}
    stage = open_tiny({"objectives": [objective], "image": FROZEN}, data, sources=own)
    tokens = {tuple(stage.towers.tokenize([row["text"]])[0]): number for number, row in enumerate(rows)}
    wrong = 0
    for step in range(6):
        batch = draw(stage, step)
        of = [tokens[tuple(token for token in row if token != 1)] for row in batch.inputs[0].rows[0].tolist()]
        targets = batch.labels[0].labels
        assert torch.equal(targets, torch.from_numpy(vectors[of]))
        wrong += not torch.equal(targets.roll(1, 0), torch.from_numpy(vectors[of]))
    assert wrong == 6


def test_an_images_target_is_its_own(shared_data: Path) -> None:
    stage = tiny_stage("distill images", shared_data)
    names = [f"{number}.png" for number in range(len(WORDS))]
    images = {image.name: image for image in stage._objectives[0]._drawing.images.sources[0]}
    crops = {name: stage.towers.reader.crop(ImageView(images[name], None)).tobytes() for name in names}
    of_crop = {crop: name for name, crop in crops.items()}
    assert len(of_crop) == len(names)
    for step in range(3):
        batch = draw(stage, step)
        of = [of_crop[crop.numpy().tobytes()] for crop in batch.inputs[0].rows[0]]
        assert torch.equal(batch.labels[0].labels, stored(shared_data).of(of))
        assert not torch.equal(batch.labels[0].labels.roll(1, 0), stored(shared_data).of(of))


def test_a_caption_is_drawn_with_its_image(shared_data: Path) -> None:
    stage = open_tiny({"objectives": [contrast()]}, shared_data)
    drawn = stage._objectives[0].draw(0, ONE_PROCESS, None)
    captions = [one.caption for one in drawn.images.own]
    for one in drawn.images.own:
        assert one.caption in [text for texts in one.view.image.captions.values() for text in texts]
    expected = stage.towers.text_input(stage.towers.tokenize(captions), ROWS)
    assert torch.equal(drawn.inputs[1].rows[0], expected.rows[0])
    meanings = keys_of([one.view.image.meaning for one in drawn.images.own], captions)
    assert torch.equal(drawn.labels.keys, meanings)


def test_held_out_texts_are_never_drawn(shared_data: Path) -> None:
    stage = tiny_stage("distill texts", shared_data)
    texts = stage._objectives[0]._drawing.texts
    held_out = set(held_out_rows(len(texts.texts)).tolist())
    drawn = {int(number) for step in range(150) for number in texts.draw(step)}
    assert len(held_out) == len(texts.texts) // 20 == 2
    assert held_out == set(texts.held_out.tolist())
    assert drawn == set(range(len(texts.texts))) - held_out
    assert -1 <= float(stage.evaluate()["distill held_out_cosine"]) <= 1


def test_scored_pairs_of_a_batch_are_of_one_language(shared_data: Path) -> None:
    stage = tiny_stage("scored pairs", shared_data)
    rows = [json.loads(line) for line in (shared_data / "rows.jsonl").read_text().splitlines()]
    language = {round(row["score"], 5): row["language"] for row in rows}
    seen = set()
    for step in range(12):
        found = {language[round(float(score), 5)] for score in draw(stage, step).labels[0].labels}
        assert len(found) == 1
        seen |= found
    assert seen == {"en", "de"}


# ---------------------------------------------------------------- anchors


def test_an_anchor_is_zero_until_the_tower_moves(shared_data: Path) -> None:
    for name, part in (("anchor of texts", "text"), ("anchor of images", "vision")):
        stage = tiny_stage(name, shared_data)
        assert float(loss_of(stage)[1]["anchor"]) == pytest.approx(0.0, abs=1e-12)
        found = []
        for _ in range(2):
            with torch.no_grad():
                generator = torch.Generator().manual_seed(5)
                for parameter in getattr(stage.module, part).parameters():
                    parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            found.append(float(loss_of(stage)[1]["anchor"]))
        assert 1e-6 < found[0] < found[1]


# ---------------------------------------------------------------- class names


def test_class_names_stand_in_the_order_of_the_logits(shared_data: Path) -> None:
    stage = open_tiny({**STAGES["class names"], "objectives": [
        {**CLASS_NAMES, "images": IMAGES, "views": VIEWS, "languages": 9}]}, shared_data)  # fmt: skip
    labels = draw(stage).labels[0].labels
    logits = StoredVectors.read(shared_data / "logits.npz")
    drawn = stage._objectives[0].draw(0, ONE_PROCESS, None)
    assert torch.equal(labels.logits, logits.of([one.view.image.name for one in drawn.images.own]))
    for members, names, pattern in zip(labels.members, labels.names, ("{}", "le {}"), strict=True):
        assert members.tolist() == list(range(CLASSES))
        vectors = stage.towers.uncached_text_vectors(
            stage.towers.tokenize([pattern.format(word) for word in WORDS[:CLASSES]])
        )
        torch.testing.assert_close(names, F.normalize(vectors, dim=1), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(names.roll(1, 0), F.normalize(vectors, dim=1), atol=1e-3)


def test_a_class_that_a_language_does_not_name_is_left_out(data: Path) -> None:
    names = {str(number): {"en": word} for number, word in enumerate(WORDS[:CLASSES])}
    names["1"]["fr"], names["3"]["fr"] = ["le blue", "le bleu"], "le white"
    (data / "names.json").write_text(json.dumps(names))
    labels = draw(tiny_stage("class names", data)).labels[0].labels
    assert [members.tolist() for members in labels.members] == [list(range(CLASSES)), [1, 3]]
    (data / "names.json").write_text(json.dumps(names | {"more": {"en": "one"}}))
    with pytest.raises(DatasetError, match=f"{CLASSES} logits an image, and {CLASSES + 1} classes are named"):
        tiny_stage("class names", data)


def test_an_image_without_logits_is_named_before_training(data: Path) -> None:
    write_stored_vectors(data / "logits.npz", [f"{n}.png" for n in range(9)], np.zeros((9, CLASSES), np.float32))
    with pytest.raises(DatasetError, match=r"names needs vectors of 1 items .* such as '9.png'"):
        tiny_stage("class names", data)


# ---------------------------------------------------------------- distillation


def test_missing_vectors_are_named_before_training(data: Path) -> None:
    write_stored_vectors(data / "teacher.npz", ["red"], np.ones((1, 16), np.float32))
    with pytest.raises(DatasetError, match="distill needs vectors of 9 items"):
        tiny_stage("distill texts", data)
    with pytest.raises(DatasetError, match=r"distill needs vectors of 10 items .* such as '0.png'"):
        tiny_stage("distill images", data)


def test_the_mean_of_captions_has_languages_alike(shared_data: Path) -> None:
    stage = tiny_stage("mean of captions", shared_data)
    batch = draw(stage)
    target = next(asked.labels for asked in batch.labels if asked.shared == 0)
    names = [one.view.image.name for one in stage._objectives[0].draw(0, ONE_PROCESS, None).images.own]
    for name, found in zip(names, target, strict=True):
        word = WORDS[int(name.split(".")[0])]
        texts = [f"a {word}", f"{word} again", f"ein {word}"]
        a, b, c = F.normalize(stage.towers.uncached_text_vectors(stage.towers.tokenize(texts)), dim=1)
        torch.testing.assert_close(found, F.normalize((a + b) / 4 + c / 2, dim=0), atol=1e-5, rtol=1e-5)


def test_captions_as_targets_need_images_and_a_frozen_text_tower(shared_data: Path) -> None:
    with pytest.raises(ConfigError, match="goes with images"):
        open_tiny({"objectives": [{**DISTILL, "vectors": "captions", "texts": TEXTS}], "image": FROZEN}, shared_data)
    stage = open_tiny(
        {"objectives": [contrast(), {**DISTILL, "vectors": "captions", "images_of": "contrast"}]}, shared_data
    )
    with pytest.raises(ConfigError, match="needs a frozen text tower"):
        draw(stage)


def test_a_copy_of_the_teacher_has_nothing_to_learn_from_its_tokens(shared_data: Path) -> None:
    copy = tiny_model(seed=1, vision=False)
    stage = open_tiny(STAGES["distill tokens"], shared_data, dtype=torch.float32, model=copy)
    assert loss_of(stage)[0] == pytest.approx(0.0, abs=1e-5)
    assert float(stage.evaluate()["tokens held_out_cosine"]) == pytest.approx(1.0, abs=1e-5)
    assert loss_of(tiny_stage("distill tokens", shared_data))[0] > 0.1


def test_a_teacher_may_be_a_function_beside_the_recipe(data: Path) -> None:
    (data / "beside.py").write_text("FOLDER = 'teacher'\n")
    (data / "mine.py").write_text(
        "from pathlib import Path\n"
        "from beside import FOLDER\n"
        "from babelclip.train.objectives.token_teacher import FolderTeacher\n\n\n"
        "def teacher():\n"
        "    return FolderTeacher(str(Path(__file__).parent / FOLDER))\n"
    )
    stage = open_tiny({"objectives": [{**TOKENS, "teacher": "mine.py:teacher"}], "image": FROZEN}, data)
    assert loss_of(stage) == loss_of(tiny_stage("distill tokens", data))
    for wrong, message in (("mine.py:nobody", "has no 'nobody'"), ("yours.py:teacher", "there is no file")):
        with pytest.raises(ConfigError, match=message):
            open_tiny({"objectives": [{**TOKENS, "teacher": wrong}], "image": FROZEN}, data)


def test_a_teachers_layers_must_be_the_students(shared_data: Path) -> None:
    for layers in ([0], [0, 2]):
        with pytest.raises(ConfigError, match="must name one of the teacher's 2 layers for each of this tower's 2"):
            open_tiny({"objectives": [{**TOKENS, "layers": layers}], "image": FROZEN}, shared_data)


# ---------------------------------------------------------------- contrasts


def test_extra_negatives_need_a_frozen_tower(shared_data: Path) -> None:
    with pytest.raises(ConfigError, match="one tower with train = 'frozen'"):
        open_tiny({"objectives": [contrast(extra_negatives=4)]}, shared_data)
    with pytest.raises(ConfigError, match="'info_nce' and one draw"):
        open_tiny({"objectives": [contrast(extra_negatives=4, loss="sigmoid")], "text": FROZEN}, shared_data)


def test_extra_negatives_join_the_bank_with_their_keys(shared_data: Path) -> None:
    batch = draw(tiny_stage("extra texts", shared_data))
    assert [rows.number for rows in batch.inputs] == [ROWS, ROWS, 8]
    labels = batch.labels[0].labels
    assert labels.bank_keys.shape == (ROWS + 8, 2)
    assert torch.equal(labels.bank_keys[:ROWS], labels.keys)


def test_stored_vectors_stand_for_the_images_that_they_are_of(data: Path) -> None:
    """The loss is that of the frozen tower which gave them, and no image is opened."""
    frozen = tiny_stage("extra images", data)
    images = frozen._objectives[0]._pairs[0].sources[0]
    reader = frozen.towers.reader
    drawn = [DrawnImage(view, reader.crop(view), "") for view in (ImageView(image, None) for image in images)]
    vectors = frozen.towers.frozen_image_outputs(drawn).numpy()
    write_stored_vectors(data / "given.npz", [image.name for image in images], vectors)
    for image in images:
        Path(image.where).write_bytes(b"no picture")
    sources = {"given": {"kind": "vectors", "path": "given.npz"}}
    asked = contrast(image_vectors="given", extra_negatives=8)
    stored = open_tiny({"objectives": [asked], "image": FROZEN}, data, sources=sources)
    assert loss_of(stored)[0] == pytest.approx(loss_of(frozen)[0], rel=1e-6)


def test_stored_vectors_must_be_of_every_image_and_fit_the_model(data: Path) -> None:
    sources = {"given": {"kind": "vectors", "path": "given.npz"}}
    stage = {"objectives": [contrast(image_vectors="given")], "image": FROZEN}
    write_stored_vectors(data / "given.npz", ["0.png"], np.ones((1, WIDTH), np.float16))
    with pytest.raises(DatasetError, match="needs vectors of 9 items"):
        open_tiny(stage, data, sources=sources)
    write_stored_vectors(data / "given.npz", ["0.png"], np.ones((1, 3), np.float16))
    with pytest.raises(DatasetError, match=f"vectors of 3 numbers, and the model's have {WIDTH}"):
        open_tiny(stage, data, sources=sources)
    with pytest.raises(ConfigError, match="augment = false"):
        open_tiny({**stage, "objectives": [contrast(image_vectors="given", views={})]}, data, sources=sources)


def test_an_image_without_caption_is_named(data: Path) -> None:
    sources = {"bare": {"kind": "images", "path": "bare"}}
    (data / "bare").mkdir()
    (data / "photos" / "0.png").rename(data / "bare" / "0.png")
    (data / "bare" / "captions.csv").write_text("image\n0.png")
    with pytest.raises(ConfigError, match="1 images have no caption"):
        open_tiny({"objectives": [contrast(draws=[{**PHOTOS, "sources": {"bare": 1.0}}])]}, data, sources=sources)


def _weights_of_negatives(keys: Tensor) -> Tensor:
    """Which rows of a batch push a row away: where the loss has a gradient with regard to the bank."""
    torch.manual_seed(0)
    rows, bank = torch.randn(len(keys), 8), torch.randn(len(keys), 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(info_nce(rows[:1], bank, keys[:1], keys, torch.tensor(5.0)), bank)
    return gradient.norm(dim=1) > 0


def test_what_means_the_same_is_never_a_negative() -> None:
    images, captions = ["a", "a", "b", "c", "d"], ["a dog", "one dog", "A dog ", "a cat", "a cow"]
    pushed = _weights_of_negatives(keys_of(images, captions))
    assert pushed.tolist() == [True, False, False, True, True]  # itself is the positive


def test_images_of_one_label_are_never_negatives(data: Path) -> None:
    lines = [json.loads(line) for line in (data / "photos" / "captions.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line["label"] = "even" if number % 2 == 0 else f"odd {number}"
    (data / "photos" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    stage = open_tiny({"objectives": [contrast()]}, data)
    drawn = stage._objectives[0].draw(0, ONE_PROCESS, None)
    numbers = [int(one.view.image.name.split(".")[0]) for one in drawn.images.own]
    keys = drawn.labels.keys
    for a, first in enumerate(numbers):
        for b, second in enumerate(numbers):
            shared = bool((keys[a] == keys[b]).any())
            assert shared == (first == second or first % 2 == second % 2 == 0), (first, second)
            assert a == b or not (shared and bool(_weights_of_negatives(keys[[a, b]])[1]))


# ---------------------------------------------------------------- temperatures


def test_a_temperature_is_fixed_or_learned(shared_data: Path) -> None:
    for learned in (True, False):
        objective = contrast(temperature={"start": 20.0, "learned": learned})
        stage = open_tiny({"objectives": [objective]}, shared_data, dtype=torch.float32)
        run = StageRun(stage, OptimizerSettings(learning_rate=1e-2), Engine())
        run.step(3e-3)
        moved = abs(float(stage._objectives[0].head.log_scale.exp().detach()) - 20.0)
        assert (moved > 0.01) == learned


def test_a_clamped_temperature_can_come_back() -> None:
    head = ScaledHead(Temperature(start=20.0, max=100.0))
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    found = []
    for sign in (-1.0, -1.0, 1.0):  # twice up, far above; then down
        optimizer.zero_grad()
        (sign * head.scale()).backward()
        head.log_scale.grad.clamp_(-1.0, 1.0)
        optimizer.step()
        found.append(float(head.scale().detach()))
    assert found == [pytest.approx(20 * np.e), pytest.approx(100.0), pytest.approx(100 / np.e)]
    with pytest.raises(ConfigError, match="at most its max"):
        Temperature(start=200.0)


# ---------------------------------------------------------------- the stage


def test_a_tower_that_nothing_reaches_is_refused(shared_data: Path) -> None:
    with pytest.raises(ConfigError, match="no objective reaches the image tower"):
        open_tiny({"objectives": [SCORED]}, shared_data)
    with pytest.raises(ConfigError, match="no objective reaches the text tower"):
        open_tiny({"objectives": [{**DISTILL, "images": IMAGES, "views": VIEWS}]}, shared_data)


def test_the_loss_is_the_weighted_sum_of_its_objectives(shared_data: Path) -> None:
    stage = tiny_stage("many, not all in every step", shared_data)
    weights = {"scored": 0.3, "contrast": 1.0, "anchor": 1.0, "triplets": 0.5}
    for step, asked in ((0, set(weights)), (1, {"contrast", "triplets"}), (3, {"contrast", "anchor", "triplets"})):
        loss, figures = loss_of(stage, step)
        assert asked == weights.keys() & figures.keys()
        assert loss == pytest.approx(sum(weights[name] * float(figures[name]) for name in asked), rel=1e-9)
