"""Environments of the core's packages alone, into which a build of the project is installed as its users do it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / ".venv-core" / "bin" / "python"
OTHERS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "BABELCLIP_WEIGHTS")
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def attempt(*command: object, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Nothing of this environment shall reach the other one."""
    clean = {name: value for name, value in os.environ.items() if name not in OTHERS}
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=clean | variables, cwd=folder)


def run(*command: object, folder: Path | None = None, **variables: str) -> str:
    """Run a command that must succeed; its stdout."""
    done = attempt(*command, folder=folder, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, place: Path, **variables: str) -> Path:
    """The wheel of a source tree, built with the build backend that is installed here."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir", "--quiet")
    run(*PIP, "wheel", *options, "-w", place, source, **variables)
    (wheel,) = place.glob("*.whl")
    return wheel


def new_environment(place: Path) -> Path:
    """An environment that is lent the core's packages but not the project; its interpreter."""
    core_packages = run(CORE, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(CORE, "-m", "venv", "--without-pip", place)
    python = place / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "core.pth").write_text(core_packages)
    return python


def install(python: Path, *what: object) -> None:
    """What pip does for a user, without an index."""
    run(*PIP, "--python", python, "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", *what)
