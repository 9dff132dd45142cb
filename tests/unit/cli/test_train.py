"""``train`` and ``curves`` on the command line: tried, planned, compared, told how far it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from babelclip.cli.main import USAGE, run
from babelclip.progress import show_progress
from babelclip.train.curve import run_names
from babelclip.train.held_out import FEW, warning_of_few
from babelclip.train.recipe import find_recipe

ROOT = Path(__file__).parents[3]


def write_log(folder: Path, offset: float) -> Path:
    folder.mkdir()
    lines = [
        {"time": "2026-01-01T00:00:00", "stage": stage, "step": step, "loss": offset + 1 / step, "rate": 0.1}
        for stage in ("one", "two")
        for step in range(1, 31)
    ]
    if offset:
        lines.append({"time": "2026-01-01T00:00:00", "stage": "after", "step": 0, "recall": 50.0})
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def mean_of_last(offset: float) -> float:
    return offset + sum(1 / step for step in range(21, 31)) / 10


def test_curves_of_one_run_and_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_log(tmp_path / "first", 0.0), write_log(tmp_path / "second", 1.0)
    assert run(["curves", str(first)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["one:", "loss", f"{mean_of_last(0):.4f}"],
        ["two:", "loss", f"{mean_of_last(0):.4f}"],
    ]
    picture = tmp_path / "curves.svg"
    assert run(["curves", str(first), str(second), "--json", "--out", str(picture)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["stage"], line["figure"]) for line in lines] == [
        ("one", "loss"),
        ("two", "loss"),
        ("after", "recall"),
    ]
    assert lines[0]["runs"][str(second)] == pytest.approx(mean_of_last(1.0))
    assert lines[2]["runs"] == {str(first): None, str(second): 50.0}
    assert "<svg" in picture.read_text()


def test_curves_without_a_log_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["curves", str(tmp_path)]) != 0
    assert "no training log at" in capsys.readouterr().err


def test_curves_of_two_folders_of_one_name_are_both_drawn(tmp_path: Path) -> None:
    runs = []
    for number, parent in enumerate(("a", "b")):
        (tmp_path / parent).mkdir()
        runs.append(str(write_log(tmp_path / parent / "photos", float(number))))
    assert run(["curves", *runs, "--out", str(tmp_path / "both.svg")]) == 0
    assert run_names([Path(one) / "log.jsonl" for one in runs]) == runs


@pytest.mark.parametrize("name", ["nano", "finetune-lora", "finetune-full", "small", "large/release"])
def test_every_recipe_can_be_planned(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = [] if name in ("nano", "large/release") else ["--model", "bundled"]
    assert run(["train", name, "--data", str(tmp_path), "--dry-run", *model]) == 0
    out = capsys.readouterr().out
    stages = [line.split('"')[1] for line in _stage_names(name)]
    assert [line.removeprefix("stage ") for line in out.splitlines() if line.startswith("stage ")] == stages
    assert out.count("GiB on one device") == len(stages)
    assert list(tmp_path.iterdir()) == []


def _stage_names(name: str) -> list[str]:
    parts = find_recipe(name).read_text().split("[[stages]]\n")[1:]
    return [next(line for line in part.splitlines() if line.startswith("name = ")) for part in parts]


def test_a_device_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "nano", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device"]
    assert run([*arguments, "toaster"]) == USAGE
    assert "unknown device 'toaster'" in capsys.readouterr().err
    assert run([*arguments, "cuda:77"]) == USAGE
    assert "GPU 77, found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_recipe_is_tried_in_a_folder_beside(tmp_path: Path) -> None:
    """By a process without a terminal: the result on stdout, the rest on stderr."""
    shapes, out = tmp_path / "shapes", tmp_path / "nano"
    drawn = [sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(shapes), "--number", "40"]
    subprocess.run(drawn, check=True)
    recipe = tmp_path / "nano.toml"
    recipe.write_text(find_recipe("nano").read_text().replace("batch = 128", "batch = 8"))
    command = [sys.executable, "-m", "babelclip", "train", str(recipe), "--data", str(shapes), "--out", str(out)]
    done = subprocess.run([*command, "--trial", "2", "--device", "cpu"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "nano-trial" / "model")
    assert not out.exists()
    log = [json.loads(line) for line in (tmp_path / "nano-trial" / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == 2
    assert "only 4 images are held out, so recall is uncertain by up to 49 points" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_held_out_set_that_says_enough_is_not_warned_of() -> None:
    assert warning_of_few(FEW) is None
    assert "by up to 10 points" in str(warning_of_few(FEW - 1))


def test_a_stage_tells_its_time_left_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("shapes", 1.0, line_seconds=0.0) as meter:
        for step in range(1, 4):
            meter.update(step / 4, note=f"step {step}, loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("shapes: 25 %")
    assert any("left" in line and "step 3, loss 0.5" in line for line in lines)
