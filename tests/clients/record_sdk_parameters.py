"""Keep what the parameters of every documented client's SDK send, for tests that have no SDK.

    python tests/clients/record_sdk_parameters.py     writes sdk_parameters.json beside it

``make test-real`` compares that file with the SDKs; ``tests/unit/serve/test_sdk_parameters.py`` sends what is in it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "journeys"))
sys.path.insert(0, str(HERE))
from environments import clean_environment, environment  # noqa: E402

RECORDED = HERE / "sdk_parameters.json"
CLIENTS = (
    "agno", "chroma", "cohere", "haystack", "langchain", "litellm", "llama-index", "milvus", "openai", "vercel-ai",
    "voyage",
)  # fmt: skip


def probed(client: str, address: str) -> dict[str, Any]:
    """The calls of a client's SDK, each with its parameters and what they send to a server."""
    home = environment(client)
    with tempfile.TemporaryDirectory() as folder:
        if client == "vercel-ai":
            program = shutil.copy(HERE / "sdk_probes.mjs", home / "sdk_probes.mjs")  # beside its node_modules
            command = [str(home / "bin" / "node"), str(program)]
        else:
            command = [
                str(home / "bin" / "python"),
                "-W",
                "ignore",
                str(HERE / "sdk_probes.py"),
                client,
                address,
                "any",
            ]
        done = subprocess.run(
            command, cwd=folder, env=clean_environment(home), capture_output=True, text=True, timeout=180, check=False
        )
    found = re.findall(r"^RESULT (.*)$", done.stdout, flags=re.MULTILINE)
    assert found, f"{client}: exit {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    calls: dict[str, Any] = json.loads(found[-1])
    return calls


def main() -> None:
    """Record all of them, against a server of this project."""
    from serving import server

    with server("--log", "none") as (_, client):
        recorded = {name: probed(name, str(client.base_url).rstrip("/")) for name in CLIENTS}
    RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
