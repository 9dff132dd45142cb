"""A run has one device: whatever it trains lies there, and a tensor that is left elsewhere is an error.

Beside a GPU such a tensor fails by itself. Where there is none, a device made of Python does the same
(``python_device.py``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from on_another_device import PLANTED, nano, start_of
from training_stages import STAGES, write_data

from babelclip.checkpoint.convert import load_towers
from babelclip.errors import ConfigError
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.train.data.sources import Sources
from babelclip.train.engine.device import choose_device
from babelclip.train.engine.loop import Engine, StageRun
from babelclip.train.open_stage import Workshop, open_stage

ROOT = Path(__file__).parents[2]
NUMBER = 10


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    program = [sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(folder), "--number", "40"]
    subprocess.run(program, check=True)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> dict[str, Any]:
    """What everything gives on the CPU and on another device; a device is registered for good, so elsewhere."""
    data = write_data(tmp_path_factory.mktemp("devices") / "data")
    program = [sys.executable, str(Path(__file__).with_name("on_another_device.py")), str(data), str(shapes)]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("name", [*STAGES, "cached", "nano"])
def test_everything_lies_on_the_device_of_the_run(name: str, found: dict[str, Any]) -> None:
    on_cpu, elsewhere = found[name]
    assert elsewhere == pytest.approx(on_cpu, rel=1e-3 if name == "nano" else 1e-9)


@pytest.mark.parametrize("fault", PLANTED)
def test_what_stays_on_the_cpu_is_seen(fault: str, found: dict[str, Any]) -> None:
    assert "elsewhere meets the CPU" in found[f"planted: {fault}"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here")
def test_the_first_losses_of_nano_on_a_gpu_are_those_of_the_cpu(shapes: Path, tmp_path: Path) -> None:
    losses = [nano_losses(shapes, tmp_path, torch.device(name)) for name in ("cpu", "cuda")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


def nano_losses(data: Path, folder: Path, device: torch.device) -> list[float]:
    recipe = nano(NUMBER, 16)
    start = start_of(recipe, data, folder / "start")
    assert start.image_prepare is not None
    texts, images = TextPreparer(start.tokenizer_file, start.text_prepare), ImagePreparer(start.image_prepare)
    sources = Sources(recipe.data, data, recipe.held_out)
    workshop = Workshop(recipe, sources, data, folder / "cache", texts, images, device)
    plan = recipe.stages[0]
    run = StageRun(open_stage(plan, load_towers(start).to(device), workshop), plan.optimizer, Engine(device=device))
    return [float(run.step(1e-3)[0]) for _ in range(NUMBER)]


def test_losses_of_nano_are_computed_here_too(shapes: Path, tmp_path: Path) -> None:
    """What the test on a GPU compares is run once where there is none."""
    losses = nano_losses(shapes, tmp_path, torch.device("cpu"))
    assert losses[-1] < losses[0]


def test_without_a_name_a_run_takes_the_gpu_or_the_cpu() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "unknown device 'gpu'"),
        ("cuda:77", "asks for GPU 77, found [0-9]+ here; --device cpu needs none"),
        pytest.param(
            "mps",
            "'mps' is not available here",
            marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has one"),
        ),
    ],
)
def test_a_device_that_is_not_here_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_device(name)


def test_each_process_of_torchrun_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(ConfigError, match=f"asks for GPU {torch.cuda.device_count()}"):
        choose_device("cuda")
