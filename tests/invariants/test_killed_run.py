"""A run that is killed in the middle of any of its files goes on with --resume, to the model of a run left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a file"),
]

KINDS = (
    *("log.jsonl", "0-000000.npy", "0-000000.json", "tokens-*.npz", "__0_0.distcp", "latest"),
    *("post-steps-00000003.safetensors", "report.json", "model.safetensors"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = [sys.executable, str(Path(__file__).with_name("killed_runs.py")), str(tmp_path_factory.mktemp("killed"))]
    done = subprocess.run([*program, *KINDS], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_in_the_middle_of_a_file_goes_on(kind: str, found: dict[str, Any]) -> None:
    killed, resumed, apart = found[kind]
    assert killed == -signal.SIGXFSZ
    assert resumed == 0
    assert apart < 1e-5
