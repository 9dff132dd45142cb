"""An environment of its own for each client: their pins contradict each other, and ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOMES = ROOT / ".clients"
NPM_PACKAGES = {"vercel-ai": ("ai@6.0.326", "zod@3.25.76", "jina-ai-provider@1.0.0")}


def environment(client: str) -> Path:
    """The folder with the client's Python, made when it is not there or its requirements have changed."""
    HOMES.mkdir(exist_ok=True)
    home = HOMES / client
    with FileLock(HOMES / f"{client}.lock"):
        requirements = (HERE / "requirements" / f"{client}.txt").read_text()
        wanted = repr((sys.version, requirements, NPM_PACKAGES.get(client, ())))
        mark = home / "made-of"
        if not mark.is_file() or mark.read_text() != wanted:
            shutil.rmtree(home, ignore_errors=True)
            _make(client, home)
            mark.write_text(wanted)
    return home


def _make(client: str, home: Path) -> None:
    _run([sys.executable, "-m", "venv", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    _run([*pip, "--disable-pip-version-check", "-r", str(HERE / "requirements" / f"{client}.txt")])
    if client in NPM_PACKAGES:
        npm = [str(home / "bin" / "npm"), "install", "--no-audit", "--no-fund", "--legacy-peer-deps"]
        _run([*npm, "--prefix", str(home), *NPM_PACKAGES[client]], home)


def clean_environment(home: Path) -> dict[str, str]:
    """Variables for a client: nothing of this environment, no proxies, no telemetry."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "LC_ALL", "TMPDIR")}
    return {
        **kept,
        "PATH": f"{home / 'bin'}:/usr/bin:/bin",
        "NO_PROXY": "*",
        "ANONYMIZED_TELEMETRY": "False",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "AGNO_TELEMETRY": "false",
        "PYTHONIOENCODING": "utf-8",
    }


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
