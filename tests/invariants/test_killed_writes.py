"""Whatever is written as one file is the old one or the new one, also when the writer is killed in the middle of it.

The kernel kills it: a process that writes past the largest size that it may write is sent SIGXFSZ.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a file")

LIMIT = 300  # bytes
SETUP = """
import resource, signal, sys
from pathlib import Path
import numpy as np
path = Path(sys.argv[1])
limit = int(sys.argv[2])

def begin():
    "From here on, whoever writes a longer file is killed."
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
"""
WRITERS = {
    "reading.json": """
from babelclip.score_normalization import ScoreNormalization
from babelclip.score_calibration import Chance, ScoreCalibration, write_calibration
rows = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
cohort = ScoreNormalization.of(rows)
begin()
cohorts, chances = {"image": cohort, "text": cohort}, {16: Chance(1, 1, 1, 1, 1)}
write_calibration(path.parent, ScoreCalibration("0" * 32, 50, 50, cohorts, chances))
""",
    "image.onnx": """
from babelclip.runtime.exported import GraphFacts, keep_graphs
begin()
keep_graphs(path.parent, {"image": (bytes(5000), GraphFacts("0" * 32, "0" * 64, 0.0, 1.0, "torch"))})
""",
    "model.safetensors": """
from babelclip.checkpoint.weights import write_safetensors
begin()
write_safetensors(path, {"a": np.zeros(5000, np.float32)})
""",
    "failures.jsonl": """
from babelclip.cli.index import _write_failures
from babelclip.search.indexing import Failure
begin()
_write_failures([Failure(f"photo {number}.jpg", "broken") for number in range(100)], path)
""",
    "errors.jsonl": """
from babelclip.cli.encode import Encoded, FailureList
from babelclip.cli.items import InputItem
begin()
with FailureList(path) as failures:
    for number in range(500):
        failures.add(Encoded(InputItem(number, "text", "a text"), None, "it is too long"))
""",
    "vectors.jsonl": """
from babelclip.cli.encode import Encoded
from babelclip.cli.items import InputItem
from babelclip.cli.output import open_output, row_of
begin()
with open_output(path) as table:
    for number in range(100):
        encoded = Encoded(InputItem(number, "text", "a text"), np.ones(64, np.float32), None)
        table.add(row_of(encoded), encoded.vector)
""",
    "vectors.npy": """
from babelclip.cli.encode import Encoded
from babelclip.cli.items import InputItem
from babelclip.cli.output import open_output, row_of
begin()
with open_output(path) as table:
    for number in range(100):
        encoded = Encoded(InputItem(number, "text", "a text"), np.ones(64, np.float32), None)
        table.add(row_of(encoded), encoded.vector)
""",
    "index.npz": """
from babelclip.search.export import export_rows
from babelclip.search.index_notes import ModelNote
from babelclip.search.store import Row
begin()
rows = [Row(str(number), "image", np.ones(64, np.float32), {"path": f"{number}.jpg"}) for number in range(100)]
export_rows(rows, ModelNote("a model", "0" * 32, 64), path)
""",
    "thumbnail.webp": """
from babelclip.web.pictures import _keep
begin()
_keep(path, bytes(5000))
""",
}


def write(name: str, path: Path, limit: int) -> int:
    """How the process of a writer ends."""
    script = SETUP + WRITERS[name]
    ended = subprocess.run(
        [sys.executable, "-c", script, path, str(limit)], capture_output=True, text=True, check=False
    )
    assert ended.returncode in (0, -signal.SIGXFSZ), ended.stderr
    return ended.returncode


@pytest.mark.parametrize("name", WRITERS)
def test_the_old_file_outlives_a_kill_in_the_middle_of_writing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("old", encoding="utf-8")
    assert write(name, path, LIMIT) == -signal.SIGXFSZ
    assert path.read_text(encoding="utf-8") == "old"
    assert write(name, path, 0) == 0
    assert path.stat().st_size > LIMIT, "else it would not have been killed in the middle of it"
