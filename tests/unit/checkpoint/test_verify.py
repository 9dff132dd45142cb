"""``model verify``: every kind of damage is found, and the makers' numbers are compared where a runtime is given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.folder import read_folder, write_folder
from babelclip.checkpoint.verify import Check, _published_numbers, is_jina_clip_v2, published_numbers, verify_folder
from babelclip.checkpoint.weights import read_stored
from babelclip.towers.config import DualConfig

GOLDENS = Path(__file__).parents[2] / "fixtures" / "goldens"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = read_folder(GOLDENS / "v2_a")
    write_folder(
        tmp_path / "own",
        name="own",
        config=folder.config,
        text_prepare=folder.text_prepare,
        image_prepare=folder.image_prepare,
        tensors={name: read_stored(entry) for name, entry in folder.tensor_index().items()},
        tokenizer_file=folder.tokenizer_file,
        card=CardFacts(license="apache-2.0", summary="Random weights."),
    )
    return tmp_path / "own"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published"
    path.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(GOLDENS / "v2_a" / file, path)
    return path


def answers(checks: list[Check]) -> dict[str, bool | None]:
    return {check.what: check.passed for check in checks}


def test_a_good_folder_passes(own: Path, published: Path) -> None:
    good = {"configuration": True, "names and shapes": True, "tokenizer": True, "finite weights": True}
    assert answers(verify_folder(own)) == good | {"checksums": True}
    assert answers(verify_folder(published)) == good | {"checksums": None}
    assert answers(verify_folder(read_folder(own))) == good | {"checksums": True}


def test_one_flipped_bit_is_found(own: Path) -> None:
    data = bytearray((own / "model.safetensors").read_bytes())
    data[-100] ^= 1
    (own / "model.safetensors").write_bytes(data)
    failed = [check for check in verify_folder(own) if check.passed is False]
    assert [check.what for check in failed] == ["checksums"]
    assert "model.safetensors has sha256" in failed[0].detail


def test_absent_or_unlisted_checksums_are_found(own: Path) -> None:
    (own / "README.md").unlink()
    assert "README.md is absent" in next(c.detail for c in verify_folder(own) if c.what == "checksums")
    (own / "checksums.json").write_text("{")
    assert answers(verify_folder(own))["checksums"] is False
    (own / "checksums.json").unlink()
    assert answers(verify_folder(own))["checksums"] is False


def test_damaged_weights_are_found(published: Path) -> None:
    tensors = load_file(published / "model.safetensors")
    tensors["vision_model.norm.bias"][3] = np.nan
    save_file(tensors, published / "model.safetensors")
    assert answers(verify_folder(published))["finite weights"] is False
    del tensors["vision_model.norm.bias"]
    save_file(tensors, published / "model.safetensors")
    checks = verify_folder(published)
    assert answers(checks)["names and shapes"] is False
    assert "vision_model.norm.bias" in checks[1].detail
    (published / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert answers(verify_folder(published))["names and shapes"] is False


def test_another_models_tokenizer_is_found(published: Path) -> None:
    content = json.loads((published / "tokenizer.json").read_text())
    content["model"]["vocab"] += [[f"piece{i}", -20.0] for i in range(5)]
    (published / "tokenizer.json").write_text(json.dumps(content))
    detail = next(check.detail for check in verify_folder(published) if check.passed is False)
    assert "1005 pieces, the text tower embeds 1000" in detail
    (published / "tokenizer.json").write_text("{}")
    assert answers(verify_folder(published))["tokenizer"] is False


def test_a_folder_that_cannot_be_read_is_one_failed_check(tmp_path: Path) -> None:
    assert answers(verify_folder(tmp_path)) == {"configuration": False}


def test_weights_in_the_hubs_cache_are_compared_with_their_name(published: Path) -> None:
    weights = published / "model.safetensors"
    blob = published / ("0" * 64)
    weights.rename(blob)
    weights.symlink_to(blob)
    assert answers(verify_folder(published))["checksums"] is False


# ---------------------------------------------------------------- the makers' numbers


class Replay:
    """Answers as the published model would, turned by an angle."""

    def __init__(self, off: float = 0.0) -> None:
        self.numbers, self.off = published_numbers(), off

    def __call__(self, texts: Sequence[str], *, task: str | None, normalize: bool) -> NDArray[np.float32]:
        sample, facts = self.numbers["sample"], self.numbers["similarities"]
        if list(texts) == [sample["text"]]:
            assert (task, normalize) == ("retrieval.query", False)
            vector = np.asarray(sample["vector"], np.float32)
            turned = np.roll(vector, 1) * self.off + vector * (1 - self.off)
            return (turned * np.linalg.norm(vector) / np.linalg.norm(turned))[None]
        assert normalize
        if list(texts) == [facts["query"]]:
            assert task == "retrieval.query"
            return np.eye(1, 3, dtype=np.float32)
        assert task is None
        cosines = np.asarray(facts["cosines"], np.float32) - self.off
        return np.stack([cosines, np.sqrt(1 - cosines**2), 0 * cosines], axis=1)


def test_the_makers_numbers_are_compared() -> None:
    assert [check.passed for check in _published_numbers(None)] == [None]
    assert [check.passed for check in _published_numbers(Replay())] == [True, True]
    assert [check.passed for check in _published_numbers(Replay(off=0.1))] == [False, False]


def test_the_published_facts_are_whole() -> None:
    numbers = published_numbers()
    vector = np.asarray(numbers["sample"]["vector"])
    assert vector.shape == (1024,)
    assert np.linalg.norm(vector) == pytest.approx(15.196, abs=1e-3)
    assert len(numbers["similarities"]["texts"]) == len(numbers["similarities"]["cosines"]) == 9


def test_only_the_full_size_is_compared_with_the_makers_numbers() -> None:
    small = read_folder(GOLDENS / "v2_a")
    assert not is_jina_clip_v2(small)
    full = replace(small, config=DualConfig.jina_clip_v2())
    assert is_jina_clip_v2(full)
    assert not is_jina_clip_v2(replace(full, layout="babelclip"))
