"""From the source archive alone: it holds the whole project, and its own tests pass where it is unpacked."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from installing import ROOT, build_wheel, run

pytestmark = pytest.mark.slow
ADDED = {"PKG-INFO"}
"""What the archive has that the project has not: its own metadata."""
LEFT_OUT: set[str] = set()
"""Files of the project that the archive may lack: none."""
SOME_TESTS = (
    "tests/house/test_house.py",
    "tests/house/test_weights.py",
    "tests/house/test_deploy.py",
    "tests/unit/cli/test_embed.py",
    "tests/unit/evaluate/test_tables.py",
    "tests/parity/test_tokens.py",
)
"""Tests that read fixtures, tools, result files, recipes, documents, and the weights."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("source")
    build = f"from hatchling.build import build_sdist; build_sdist({str(place)!r})"
    run(sys.executable, "-c", build, folder=ROOT)
    (archive,) = place.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(place, filter="data")
    (folder,) = (found for found in place.iterdir() if found.is_dir())
    return folder


def test_every_file_of_the_project_is_in_it(unpacked: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, so there is no list of the project's files")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    project = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    packed = {file.relative_to(unpacked).as_posix() for file in unpacked.rglob("*") if file.is_file()}
    assert project - packed == LEFT_OUT
    assert packed - project == ADDED


def test_its_own_tests_pass(unpacked: Path) -> None:
    path = f"{unpacked / 'src'}:{unpacked / 'packages' / 'babelclip-small' / 'src'}"
    where = run(sys.executable, "-c", "import babelclip; print(babelclip.__file__)", PYTHONPATH=path, folder=unpacked)
    assert Path(where.strip()).is_relative_to(unpacked)
    command = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *SOME_TESTS)
    said = run(*command, folder=unpacked, PYTHONPATH=path, OMP_NUM_THREADS="1")
    assert " passed" in said.splitlines()[-1]


def test_a_wheel_can_be_built_from_it(unpacked: Path, tmp_path: Path) -> None:
    names = [
        set(zipfile.ZipFile(build_wheel(source, tmp_path / name)).namelist())
        for name, source in (("archive", unpacked), ("tree", ROOT))
    ]
    assert names[0] == names[1]
