"""From a build in an environment of the core's packages alone: it runs, and there is no torch.

The weights come inside the wheel, from a distribution of their own, or, in an editable installation, from where they
stand; an installation without any says what to install.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from installing import CORE, OFFLINE, ROOT, attempt, build_wheel, install, new_environment, run

pytestmark = pytest.mark.slow
needs_core = pytest.mark.skipif(
    not CORE.exists(), reason="needs .venv-core, an environment of the core alone: make core"
)
MODEL = ROOT / "packages" / "babelclip-small" / "src" / "babelclip_small" / "model"
WORKS = "import babelclip, sys; print(babelclip.load().encode_text('a cat').shape, babelclip.__file__)"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def without_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("without-weights"), BABELCLIP_WEIGHTS="apart")


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def requirements_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    return [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]


def test_the_wheel_holds_the_model_and_the_photos(wheel: Path) -> None:
    names = names_in(wheel)
    for name in ("py.typed", "demo/photos/ATTRIBUTION.json", "demo/page.css", "recipes/large/release.toml"):
        assert f"babelclip/{name}" in names
    assert {Path(name).name for name in names if name.startswith("babelclip/bundled/model/")} == {
        file.name for file in MODEL.iterdir()
    }
    assert sum(name.startswith("babelclip/demo/photos/") and name.endswith(".webp") for name in names) == 50
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"babelclip"}
    assert "babelclip-small" not in requirements_of(wheel)


@needs_core
def test_the_demonstration_runs_without_torch(wheel: Path, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "venv")
    install(python, wheel)
    where = run(python, "-P", "-c", "import babelclip; print(babelclip.__file__)").strip()
    assert Path(where).is_relative_to(tmp_path)
    present = run(python, "-c", "from importlib.util import find_spec; print(find_spec('torch'))").strip()
    assert present == "None"

    page = tmp_path / "demo.html"
    command = tmp_path / "venv" / "bin" / "babelclip"
    shown = run(command, "demo", "--html", page, "--no-open", **OFFLINE, BABELCLIP_CACHE=str(tmp_path / "cache"))
    assert "20 queries in 20 languages over 50 photos" in shown
    assert page.stat().st_size > 500_000
    assert not (tmp_path / "cache" / "exports").exists(), "the bundled model brings its graphs"


@needs_core
def test_weights_that_a_packager_has_parted(without_weights: Path, tmp_path: Path) -> None:
    assert not [name for name in names_in(without_weights) if name.startswith("babelclip/bundled/model")]
    assert "babelclip-small" in requirements_of(without_weights)
    python = new_environment(tmp_path / "venv")
    install(python, without_weights)
    failed = attempt(python, "-c", WORKS, folder=tmp_path, **OFFLINE)
    assert failed.returncode == 1
    assert "FolderError: this installation of babelclip has no bundled model" in failed.stderr
    assert "pip install babelclip-small" in failed.stderr
    install(python, build_wheel(ROOT / "packages" / "babelclip-small", tmp_path / "weights"))
    assert "(384,)" in run(python, "-c", WORKS, folder=tmp_path, **OFFLINE)


@needs_core
def test_an_editable_installation_reads_the_weights_where_they_stand(tmp_path: Path) -> None:
    python = new_environment(tmp_path / "venv")
    install(python, "--editable", ROOT)
    assert f"(384,) {ROOT / 'src'}" in run(python, "-c", WORKS, folder=tmp_path, **OFFLINE)
    assert list((tmp_path / "venv").rglob("model.safetensors")) == []


def test_a_build_says_what_it_expects(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "src", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    with pytest.raises(AssertionError, match="expected the bundled model's weights in packages/babelclip-small"):
        build_wheel(tmp_path, tmp_path / "none")
    with pytest.raises(AssertionError, match="BABELCLIP_WEIGHTS: expected 'inside' or 'apart', found 'yes'"):
        build_wheel(ROOT, tmp_path / "none", BABELCLIP_WEIGHTS="yes")
