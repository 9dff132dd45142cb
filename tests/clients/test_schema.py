"""Requests that a machine makes out of the server's own OpenAPI document: nothing may end in a 5xx."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "journeys"))
sys.path.insert(0, str(Path(__file__).parent))
from environments import clean_environment, environment

from serving import server

pytestmark = pytest.mark.clients
MIN_CASES = 2000


def test_nothing_made_from_the_schema_is_a_failure(tmp_path: Path) -> None:
    home = environment("schemathesis")
    with server("--log", "none") as (_, client):
        command = [
            str(home / "bin" / "schemathesis"), "run", f"{client.base_url}/openapi.json",
            "--checks", "not_a_server_error", "--max-examples", "250", "--seed", "1", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=tmp_path, env=clean_environment(home), capture_output=True, text=True, timeout=900, check=False
        )
        assert client.get("/health").status_code == 200
    assert done.returncode == 0, done.stdout[-6000:]
    cases = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) generated", done.stdout)]
    assert sum(cases) >= MIN_CASES, done.stdout[-2000:]
