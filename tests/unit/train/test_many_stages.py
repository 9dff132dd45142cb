"""A run of many stages, as recipes/small.toml has them, on made-up data: it ends in a model, cut off or not."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "invariants"))
from training_stages import TOKENIZER, WIDTH, tiny_model, write_data

import babelclip
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import load_towers, state_tensors
from babelclip.checkpoint.folder import NOTICE, read_folder, write_folder
from babelclip.checkpoint.quantized import INT4
from babelclip.errors import ConfigError, DatasetError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer
from babelclip.train.data.captioned_images import CaptionedImages
from babelclip.train.data.image_sampler import ImageView
from babelclip.train.data.sources import Sources
from babelclip.train.data.stored_vectors import write_stored_vectors
from babelclip.train.engine.batch import Batch
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.loop import Engine
from babelclip.train.objectives.contrast import Contrast
from babelclip.train.open_stage import Workshop, open_frozen
from babelclip.train.post_steps.centering import CenteringSettings
from babelclip.train.post_steps.fit_projection import FitProjectionSettings
from babelclip.train.post_steps.post_step import PostStepContext, image_vectors
from babelclip.train.post_steps.round_words import RoundWordsSettings
from babelclip.train.recipe import Recipe, read_recipe
from babelclip.train.run import RunOptions, train
from babelclip.train.start_model import start_model
from babelclip.train.write_model import WORDS, shipped_tensors

RECIPE = """
start = "start"
held_out = 0.0
cache = { disk_gb = 1.0 }
write = { name = "many", storage = "int8_int4_words", card = "card.toml", notice = "notice.txt" }

[data]
photos = { kind = "captioned_images", path = "photos", held_out = 0.2 }
rows = { kind = "text_rows", path = "rows.jsonl" }
texts = { kind = "texts", path = "texts.jsonl" }
teacher = { kind = "vectors", path = "teacher.npz" }
logits = { kind = "vectors", path = "logits.npz" }
names = { kind = "class_names", path = "names.json" }

[[stages]]
name = "tokens"
budget = { steps = 2 }
optimizer = { learning_rate = 5e-3 }
text = { rates = { "embeddings.word." = 0.0, "projection." = 0.0 } }
image = { train = "frozen" }
post_steps = [{ kind = "fit_projection", texts = ["texts"], vectors = "teacher" }]
[[stages.objectives]]
kind = "distill_tokens"
name = "tokens"
teacher = "teacher"
layers = [0, 1]
texts = { sources = { texts = 1.0 }, token_budget = 40 }

[[stages]]
name = "languages"
budget = { steps = 3 }
optimizer = { learning_rate = 3e-3 }
image = { train = "frozen" }
inputs = { seed = 1 }
post_steps = [
    { kind = "round_words" },
    { kind = "similarity", pairs = "rows", dims = [8, 16], steps = 5, batch = 16 },
]
[[stages.objectives]]
kind = "distill_vectors"
name = "translations"
vectors = "teacher"
relational_weight = 1.0
texts = { sources = { texts = 1.0 }, token_budget = 40 }
[[stages.objectives]]
kind = "scored_pairs"
name = "pairs"
every = 2
weight = 0.05
draws = { sources = { rows = 1.0 }, batch = 6 }

[[stages]]
name = "images"
budget = { steps = 3 }
optimizer = { learning_rate = 4e-3 }
text = { train = "frozen" }
inputs = { keep_patches = 0.5, whole_share = 0.2 }
[[stages.objectives]]
kind = "contrast"
name = "photos"
draws = [{ sources = { photos = 1.0 }, batch = 6 }]
extra_negatives = 12
views = { views = 2, english_share = 0.6 }
[[stages.objectives]]
kind = "distill_vectors"
name = "mean_caption"
images_of = "photos"
vectors = "captions"
[[stages.objectives]]
kind = "class_names"
name = "class_names"
images_of = "photos"
names = "names"
logits = "logits"

[[stages]]
name = "captions"
budget = { steps = 2 }
optimizer = { learning_rate = 3e-3 }
text = { frozen_blocks = 1 }
image = { train = "frozen" }
[[stages.objectives]]
kind = "contrast"
name = "photos"
draws = [{ sources = { photos = 1.0 }, batch = 6 }]
extra_negatives = 12
views = { views = 2 }
[[stages.objectives]]
kind = "anchor"
name = "held"
weight = 8.0
texts = { sources = { texts = 1.0 }, token_budget = 40 }

[[stages]]
name = "final"
budget = { steps = 2 }
optimizer = { learning_rate = 2e-3 }
text = { train = "frozen" }
post_steps = [{ kind = "centering", images = ["photos"], start = 4, end = 12 }]
[[stages.objectives]]
kind = "contrast"
name = "photos"
draws = [{ sources = { photos = 1.0 }, batch = 6 }]
views = { views = 2 }
"""
CARD = """
license = "apache-2.0"
summary = "Made up for a test."
parents = ["nothing"]
data = ["ten squares"]
"""


def wide_model(seed: int) -> DualEncoder:
    """As ``tiny_model``, the text tower twice as wide, which int4 wants, with a projection, which post-steps change."""
    plain = tiny_model(seed)
    torch.manual_seed(seed)
    model = DualEncoder(replace(plain.config, text=replace(plain.config.text, width=32, projection=True)))
    start_transformer(model.text, deviation=0.2)
    model.vision = plain.vision
    return model


def write(folder: Path, model: DualEncoder) -> Path:
    write_folder(
        folder,
        name=folder.name,
        config=model.config,
        text_prepare=TextPrepareConfig(max_tokens=77),
        image_prepare=ImagePrepareConfig(size=12, resize_mode="squash"),
        tensors=state_tensors(model),
        tokenizer_file=TOKENIZER,
        card=CardFacts(license="other", summary="random"),
        overwrite=True,
    )
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_data(tmp_path / "data")
    write(folder / "start", wide_model(4))
    write(folder / "teacher", wide_model(5))
    (folder / "card.toml").write_text(CARD)
    (folder / "notice.txt").write_text("Thanks to everyone.\n")
    (folder / "many.toml").write_text(RECIPE)
    return folder


def read(data: Path) -> Recipe:
    return read_recipe(data / "many.toml")


def run(
    data: Path, out: Path, said: list[str] | None = None, *, resume: bool = False, plan: Recipe | None = None
) -> Path:
    plan = plan or read(data)
    start = start_model(plan, None, TOKENIZER, data, out / "start")
    options = RunOptions(resume=resume, say=print if said is None else said.append)
    return train(plan, start, data, out, options)


def stored(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


def cut_the_power_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """In the third stage, whose contrast draws first and learns from images."""
    draw = Contrast.draw

    def fail(self: Contrast, at: int, group: ProcessGroupInfo, shared: object) -> Batch:
        if at == step:
            raise RuntimeError("power cut")
        return draw(self, at, group, shared)

    patch.setattr(Contrast, "draw", fail)
    patch.setattr("babelclip.train.run.Engine", partial(Engine, checkpoint_seconds=0.0))


def test_many_stages_end_in_a_model_and_a_run_that_was_cut_off_in_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    whole = run(data, tmp_path / "whole", said)
    with monkeypatch.context() as patch:
        cut_the_power_at(2, patch)
        with pytest.raises(RuntimeError, match="power cut"):
            run(data, tmp_path / "cut")
    log = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in log if line["step"] == 1] == ["tokens", "languages", "images"]
    again: list[str] = []
    resumed = run(data, tmp_path / "cut", again, resume=True)
    assert stored(resumed) == stored(whole)
    done = ["fit_projection", "round_words", "similarity", "centering"]
    assert [line.split(": ")[1] for line in said if line.split(": ")[-1] in done] == done
    assert [line.split(": ")[1] for line in again if line.split(": ")[-1] in done] == ["centering"]

    folder = read_folder(whole)
    assert folder.name == "many"
    assert folder.tensor_index()["text.embeddings.word.weight"].dtype == INT4
    assert (whole / NOTICE).read_text() == "Thanks to everyone.\n"
    card = (whole / "README.md").read_text()
    assert "Made up for a test." in card
    assert "held-out images, text to image R@1 (6 queries)" in card
    encoder = babelclip.load(whole, runtime="torch")
    assert encoder.encode_text(["a dog", "ein Hund"]).shape == (2, WIDTH)
    assert np.isfinite(encoder.encode_image([data / "photos" / "0.png"])).all()
    assert any("only 2 images are held out" in line for line in said)


def test_a_longer_run_computes_its_post_steps_anew(data: Path, tmp_path: Path) -> None:
    """What was kept is of the shorter run's weights."""
    plan = replace(read(data), stages=read(data).stages[:1])
    whole = run(data, tmp_path / "whole", plan=plan)
    run(data, tmp_path / "out", plan=plan.trial(1))
    assert stored(run(data, tmp_path / "out", resume=True, plan=plan)) == stored(whole)


def test_what_cannot_be_written_is_said_before_training(data: Path, tmp_path: Path) -> None:
    (data / "notice.txt").unlink()
    with pytest.raises(DatasetError, match=r"there is no file .*notice.txt"):
        run(data, tmp_path / "out")
    (data / "notice.txt").write_text("Thanks.")
    (data / "card.toml").write_text(CARD + 'author = "x"')
    with pytest.raises(ConfigError, match=r"card.toml: unknown author"):
        run(data, tmp_path / "out")
    (data / "card.toml").write_text(CARD + 'license = "twice"')
    with pytest.raises(ConfigError, match=r"card.toml is not TOML"):
        run(data, tmp_path / "out")
    (data / "card.toml").write_text(CARD.replace('["ten squares"]', '"ten squares"'))
    with pytest.raises(ConfigError, match=r"card.toml: data: expected a list"):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_a_trial_ends_in_a_model_too(data: Path, tmp_path: Path) -> None:
    tried = run(data, tmp_path / "out", plan=read(data).trial(1))
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert {line["step"] for line in log} == {0, 1}
    assert babelclip.load(tried, runtime="torch").encode_text(["a dog"]).shape == (1, WIDTH)


# ---------------------------------------------------------------- post-steps on their own


@pytest.fixture
def context(data: Path) -> PostStepContext:
    model = load_towers(read_folder(data / "start"))
    recipe = read(data)
    workshop = Workshop(
        recipe,
        Sources(recipe.data, data, 0.0),
        data,
        data / "cache",
        TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=77)),
        ImagePreparer(ImagePrepareConfig(size=12, resize_mode="squash")),
        torch.device("cpu"),
    )
    return PostStepContext(model, open_frozen(recipe.stages[0], model, workshop), workshop.sources, 0)


def test_a_known_map_is_recovered(data: Path, context: PostStepContext) -> None:
    """Targets that another projection gives: the fit finds vectors of the same direction."""
    projection = context.model.text.projection
    assert projection is not None
    own, wanted = projection.weight.detach().clone(), torch.randn(WIDTH, 32, generator=torch.Generator().manual_seed(9))
    texts = context.sources.texts("texts")
    words = list(dict.fromkeys(text.text for text in texts))
    (data / "texts.jsonl").write_text("\n".join(json.dumps({"text": word}) for word in words))
    projection.weight.data.copy_(wanted)
    targets = F.normalize(context.towers.uncached_text_vectors(context.towers.tokenize(words)), dim=1)
    write_stored_vectors(data / "teacher.npz", words, targets.numpy())
    projection.weight.data.copy_(own)
    fresh = PostStepContext(context.model, context.towers, Sources(read(data).data, data, 0.0), 0)
    settings = FitProjectionSettings(kind="fit_projection", texts=("texts",), vectors="teacher", ridge=1e-9)
    before = context.towers.uncached_text_vectors(context.towers.tokenize(words))
    assert torch.equal(projection.weight, own)
    projection.weight.data.copy_(settings(fresh)["text.projection.weight"])
    after = context.towers.uncached_text_vectors(context.towers.tokenize(words))
    assert F.cosine_similarity(after, targets).mean() > 0.97
    assert F.cosine_similarity(before, targets).mean() < 0.5


def test_centering_takes_the_mean_out_of_some_numbers(context: PostStepContext) -> None:
    images = context.sources.images("photos")
    before = image_vectors(context, images)
    settings = CenteringSettings(kind="centering", images=("photos",), start=4, end=12)
    context.towers.vision.norm.bias.data.copy_(settings(context)["vision.norm.bias"])
    after = _vectors_anew(context, images)
    moved = after - before
    assert moved[:, :4].abs().max() < 1e-5
    assert moved[:, 12:].abs().max() < 1e-5
    torch.testing.assert_close(moved, moved[:1].expand_as(moved), atol=1e-5, rtol=0)  # all alike
    assert after.mean(dim=0)[4:12].abs().max() < 0.1 * before.mean(dim=0)[4:12].abs().max()


def _vectors_anew(context: PostStepContext, images: CaptionedImages) -> Tensor:
    reader = context.towers.reader
    crops = torch.from_numpy(np.stack([reader.crop(ImageView(image, None)) for image in images]))
    with torch.no_grad():
        vectors: Tensor = context.towers.vision(context.towers.pixels(crops))
    return vectors


def test_rounded_words_are_what_int4_reads_back(data: Path, context: PostStepContext) -> None:
    found = RoundWordsSettings(kind="round_words")(context)[WORDS]
    assert not torch.equal(found, context.model.text.embeddings.word.weight)
    context.model.text.embeddings.word.weight.data.copy_(found)
    again = RoundWordsSettings(kind="round_words")(context)[WORDS]
    torch.testing.assert_close(again, found, atol=1e-4, rtol=1e-3)
    start = read_folder(data / "start")
    tensors = shipped_tensors(state_tensors(load_towers(start)), int4_words=True)
    write_folder(
        data / "int4",
        name="int4",
        config=start.config,
        text_prepare=start.text_prepare,
        image_prepare=start.image_prepare,
        tensors=tensors,
        tokenizer_file=TOKENIZER,
        card=CardFacts(license="other", summary="random"),
    )
    assert torch.equal(load_towers(read_folder(data / "int4")).text.embeddings.word.weight, found)
