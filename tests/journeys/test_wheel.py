"""From a built wheel in an environment of the core's packages alone: the demonstration runs, and there is no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / ".venv-core" / "bin" / "python"


def run(*command: object, **variables: str) -> str:
    """Run a command that must succeed; its stdout. Nothing of this environment shall reach the other one."""
    clean = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=clean | variables
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built with the build backend that is installed here."""
    place = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", place, ROOT)
    return next(place.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_the_model_and_the_photos(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in ("py.typed", "demo/photos/ATTRIBUTION.json", "demo/page.css", "bundled/small/model.safetensors"):
        assert f"babelclip/{name}" in names
    assert sum(name.startswith("babelclip/demo/photos/") and name.endswith(".webp") for name in names) == 50
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.slow
@pytest.mark.skipif(not CORE.exists(), reason="needs .venv-core, an environment of the core alone: make core")
def test_the_demonstration_runs_without_torch(wheel: Path, tmp_path: Path) -> None:
    core_packages = run(CORE, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(CORE, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "core.pth").write_text(core_packages)  # lends the core's packages; the project comes from the wheel

    where = run(python, "-P", "-c", "import babelclip; print(babelclip.__file__)").strip()
    assert Path(where).is_relative_to(tmp_path)
    present = run(python, "-c", "from importlib.util import find_spec; print(find_spec('torch'))").strip()
    assert present == "None"

    page = tmp_path / "demo.html"
    command = tmp_path / "venv" / "bin" / "babelclip"
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "BABELCLIP_CACHE": str(tmp_path / "cache")}
    shown = run(command, "demo", "--html", page, "--no-open", **offline)
    assert "20 queries in 20 languages over 50 photos" in shown
    assert page.stat().st_size > 500_000
    assert not (tmp_path / "cache" / "exports").exists(), "the bundled model brings its graphs"
