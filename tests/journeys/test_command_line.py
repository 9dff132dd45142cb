"""The command as people run it: a process, with the bundled model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from babelclip.atomic_write import UNFINISHED

PHOTOS = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"
QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def start(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m babelclip`` to its end."""
    command = [sys.executable, "-m", "babelclip", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, env=os.environ | QUIET, timeout=120
    )


def test_a_text_and_a_photo_become_vectors_in_order(tmp_path: Path) -> None:
    done = start("embed", "a cat", PHOTOS / "cat.webp", "黎明的桥", "--dim", 64)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["kind"] for row in rows] == ["text", "image", "text"]
    vectors = np.array([row["vector"] for row in rows])
    assert vectors.shape == (3, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_exit_codes_and_what_is_left(tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.jpg", tmp_path / "vectors.npz"
    broken.write_bytes(b"not an image")
    partly = start("embed", PHOTOS / "cat.webp", broken, "--out", out)
    assert (partly.returncode, partly.stdout) == (3, "")
    assert "broken.jpg" in partly.stderr
    assert np.load(out)["index"].tolist() == [0]
    failed = start("embed", broken)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    assert start("embed").returncode == 2
    assert start("similarity", "a", "b", "--model", tmp_path / "absent").returncode == 1


def test_classify_a_photo() -> None:
    done = start("classify", PHOTOS / "cat.webp", "--labels", "cat,fire truck,beach", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["labels"][0]["label"] == "cat"


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    lines = "\n".join(json.dumps(f"text number {i}") for i in range(2000))
    process = subprocess.Popen(
        [sys.executable, "-m", "babelclip", "embed", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | QUIET,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stderr:
        process.stdin.write(lines)
        process.stdin.close()
        assert json.loads(process.stdout.readline())["input"] == "text number 0"
        process.stdout.close()
        assert process.wait(120) == 0
        assert process.stderr.read() == ""


def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    out = tmp_path / "vectors.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "babelclip", "embed", "-", "--out", out],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | QUIET,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stderr, process.stdin:
        while not list(tmp_path.glob(f"{UNFINISHED}*")):  # the model is loaded and the command waits for lines
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "babelclip: stopped\n"
    assert list(tmp_path.iterdir()) == []


def test_embedding_never_imports_torch() -> None:
    script = (
        "import sys, babelclip; encoder = babelclip.load();"
        f"encoder.encode_text(['a cat']); encoder.encode_image([{str(PHOTOS / 'cat.webp')!r}]);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, env=os.environ | QUIET).returncode == 0


def test_doctor_finds_the_model_well() -> None:
    done = start("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["bundled model"]["works"] is True
    assert found["packages"]["onnxruntime"] != "missing"


def test_the_bundled_model_verifies_and_is_listed() -> None:
    done = start("model", "verify", "--json")
    assert done.returncode == 0, done.stdout
    assert {json.loads(line)["passed"] for line in done.stdout.splitlines()} == {True}
    listed = start("model", "list", "--json")
    assert json.loads(listed.stdout.splitlines()[0])["where"] == "bundled"


@pytest.mark.parametrize(
    "verb", ["", "embed", "similarity", "classify", "demo", "model", "doctor", "train", "mine", "evaluate"]
)
def test_every_verb_explains_itself(verb: str) -> None:
    done = start(*verb.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: babelclip" in done.stdout
