"""Weights stand in one place, which a packager can take out; no other large file is in the history."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.checksums import wrong_checksums

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "packages" / "babelclip-small"
MODEL = PACKAGE / "src" / "babelclip_small" / "model"
LARGE = 3_000_000  # bytes; the largest fixture, a tokenizer, has 2.3 million
OTHER_FILES = {"checksums.json", "image.onnx", "text.onnx", "onnx.json", "check-onnx.json"}
"""What a model folder holds that its checksums do not name: themselves, and graphs that can be made anew."""


def test_large_files_are_the_weights_that_are_shipped() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, so there is no list of what stands in the history")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [ROOT / name for name in listed.split("\0") if name]
    large = [file for file in tracked if file.is_file() and file.stat().st_size > LARGE]
    assert [str(file.relative_to(ROOT)) for file in large if file.parent != MODEL] == []
    assert large == [MODEL / "model.safetensors"]
    assert sorted(file.name for file in tracked if file.parent == MODEL) == sorted(
        file.name for file in MODEL.iterdir()
    )


def test_the_folder_holds_what_its_checksums_say() -> None:
    assert wrong_checksums(MODEL) == []
    named = (MODEL / "checksums.json").read_text(encoding="utf-8")
    for file in MODEL.iterdir():
        assert file.name in OTHER_FILES or f'"{file.name}"' in named, f"{file.name} is no part of the model"


def test_the_weights_are_a_distribution_with_their_terms() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "babelclip-small"
    for file in (project["readme"], *project["license-files"]):
        assert (PACKAGE / file).is_file(), file
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_checkout_opens_the_weights_that_it_holds() -> None:
    assert bundled_folder().name == "model"
    assert (bundled_folder() / "checksums.json").read_bytes() == (MODEL / "checksums.json").read_bytes()
