"""What the process of ``test_killed_run.py`` does: a small run, killed in the middle of each kind of file, and resumed.

The kernel kills it: when the file is opened, the largest size that the process may write is set to a little more than
the file has. Every run is a child of its own, forked after everything is imported. Prints JSON: file -> how the killed
process ended, and how the resumed one's model differs from that of a run which nobody killed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from training_stages import DATA, TOKENIZER, tiny_model, write_data

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import read_folder, write_folder
from babelclip.decode import decode
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.train import run as runs
from babelclip.train.engine.loop import Engine
from babelclip.train.recipe import Recipe

PIECE = 8  # bytes of a file that are written before the kill
NO_AUGMENT = {"augment": False}
WIDE = {"draws": [{"sources": {"photos": 1.0}, "batch": 4}], "views": NO_AUGMENT}
RECIPE = {
    "data": DATA,
    "held_out": 0.2,
    "cache": {"disk_gb": 0.01},
    "write": {"storage": "float32"},
    "stages": [
        {
            "name": "pairs",
            "budget": {"steps": 3},
            "optimizer": {"learning_rate": 1e-3},
            "text": {"train": "frozen"},
            "objectives": [{"kind": "contrast", "name": "captions", **WIDE}],
        },
        {
            "name": "texts",
            "budget": {"steps": 3},
            "optimizer": {"learning_rate": 1e-3},
            "image": {"train": "frozen"},
            "objectives": [
                {
                    "kind": "distill_vectors",
                    "name": "distill",
                    "vectors": "teacher",
                    "texts": {"sources": {"texts": 1.0}, "token_budget": 40},
                }
            ],
            "post_steps": [{"kind": "centering", "images": ["photos"]}],
        },
    ],
}
runs.Engine = partial(Engine, checkpoint_seconds=0.0)  # type: ignore[misc]


def role(path: Path) -> str:
    """What kind of file of a run a path is: its name without what differs from run to run."""
    return re.sub("[0-9a-f]{16,}", "*", re.sub(r"^\.writing-[0-9a-f]+-", "", path.name))


def train(folder: Path, out: Path, *, resume: bool) -> None:
    torch.set_num_threads(1)
    options = runs.RunOptions(resume=resume, say=lambda line: None)
    recipe = decode(Recipe, RECIPE, "recipe")
    runs.train(recipe, read_folder(folder / "start"), folder / "data", out, options)


def watch(out: Path, told: list[str], deadly: str | None) -> None:
    """Note what is opened for writing below a folder; kill in the middle of one kind of file."""

    def see(event: str, arguments: Any) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = Path(arguments[0])
            if out in path.parents and (kind := role(path)) not in told:
                told.append(kind)
                if kind == deadly:
                    size = path.stat().st_size if path.exists() else 0
                    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size + PIECE, size + PIECE))

    sys.addaudithook(see)


def in_child(folder: Path, out: Path, *, resume: bool = False, deadly: str | None = None) -> int:
    """How a run ends: 0, or minus the number of the signal."""
    child = os.fork()
    if child == 0:
        told: list[str] = []
        status = 1
        try:
            watch(out, told, deadly)
            train(folder, out, resume=resume)
            (folder / "written.json").write_text(json.dumps(told))
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def apart(out: Path, expected: Path) -> float:
    """The largest difference of two runs' models."""
    found, wanted = (load_file(run / "model" / "model.safetensors") for run in (out, expected))
    return max(float((found[name] - tensor).abs().max()) for name, tensor in wanted.items())


def main(folder: Path, kinds: list[str]) -> None:
    write_data(folder / "data")
    model = tiny_model()
    write_folder(
        folder / "start",
        name="start",
        config=model.config,
        text_prepare=TextPrepareConfig(max_tokens=77),
        image_prepare=ImagePrepareConfig(size=12, resize_mode="squash"),
        tensors=state_tensors(model),
        tokenizer_file=TOKENIZER,
        card=CardFacts(license="other", summary="random"),
    )
    expected = folder / "whole"
    assert in_child(folder, expected) == 0
    written = json.loads((folder / "written.json").read_text())
    found = {}
    for number, kind in enumerate(kinds):
        assert kind in written, f"{kind} is not among {written}"
        out = folder / f"run-{number}"
        ended = in_child(folder, out, deadly=kind)
        resumed = in_child(folder, out, resume=True)
        found[kind] = [ended, resumed, apart(out, expected) if resumed == 0 else None]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
