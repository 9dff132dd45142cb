"""A step of the old trainer against one of the new, on recorded batches, one thread: text distillation and fine-tuning.

    git worktree add ../old 48fbca9
    python lab/one_kind_of_stage/speed.py RECORDED --old ../old [--out RESULT.json]

Two processes step in turns, one with the old code and one with the new, so that a busy machine slows both. What counts
is a step's time on the processor, from its batch to the changed weights; reading the batch from disk is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("text", "contrast_finetune_lora")
STEPS = 12
WARMUP = 2  # steps that are not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recorded", type=Path)
    parser.add_argument("--old", type=Path, help="a checkout of the old code")
    parser.add_argument("--out", type=Path, help="the result file of replay.py")
    parser.add_argument("--stages", nargs="*", default=STAGES)
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # "old" or "new": one of the two processes, and its stage
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve, arguments.recorded / arguments.stage)
        return
    speed = {stage: measure(arguments.recorded, arguments.old, stage) for stage in arguments.stages}
    print(json.dumps(speed, indent=1))
    if arguments.out is not None:
        found = json.loads(arguments.out.read_text())
        arguments.out.write_text(json.dumps(found | {"speed": speed}, indent=1, ensure_ascii=False) + "\n")


def measure(recorded: Path, old: Path, stage: str) -> dict[str, float]:
    """Median processor seconds of a step of both, and the median of the steps' ratios."""
    sides = {"old": old / "src", "new": ROOT / "src"}
    running = {side: _start(side, source, recorded, stage) for side, source in sides.items()}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(STEPS):
        for side, process in running.items():
            process.stdin.write("step\n")
            process.stdin.flush()
            seconds[side].append(float(process.stdout.readline()))
    for process in running.values():
        process.stdin.close()
        process.wait()
    counted = {side: found[WARMUP:] for side, found in seconds.items()}
    ratios = [new / before for before, new in zip(counted["old"], counted["new"], strict=True)]
    middle = {f"{side}_seconds": round(median(found), 4) for side, found in counted.items()}
    return {**middle, "new_to_old": round(median(ratios), 3)}


def _start(side: str, source: Path, recorded: Path, stage: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, str(recorded), "--serve", side, "--stage", stage]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(source)}, stdin=pipe, stdout=pipe, text=True)


def serve(side: str, folder: Path) -> None:
    """One step for each line that comes in; its seconds go out."""
    import torch

    torch.set_num_threads(1)
    prepare = old_step if side == "old" else new_step
    for step, _ in enumerate(sys.stdin):
        run = prepare(folder, step)
        started = time.process_time()
        run()
        print(time.process_time() - started, flush=True)


_KEPT: dict[str, Any] = {}
"""The stage under way."""


def new_step(folder: Path, step: int) -> Callable[[], object]:
    """The next step of the new trainer."""
    from recorded import RecordedStage
    from replay import STAGES as KINDS

    from babelclip.train.engine.loop import Engine, StageRun
    from babelclip.train.engine.optimizer import OptimizerSettings

    if not _KEPT:
        recorded = RecordedStage(folder)
        stage = KINDS[recorded.meta["stage"]](recorded).stage
        _KEPT["run"] = StageRun(stage, OptimizerSettings(**recorded.meta["optim"]), Engine())
        _KEPT["stage"], _KEPT["draw"] = stage, stage.draw
    return _with_batch(step, _KEPT["run"])


def old_step(folder: Path, step: int) -> Callable[[], object]:
    """The next step of the old trainer."""
    from babelclip.train.loop import Engine, _Run
    from babelclip.train.optim import OptimSettings
    from old_stage import OldStage

    if not _KEPT:
        stage = OldStage(folder)
        _KEPT["run"] = _Run(stage, OptimSettings(**stage.meta["optim"]), Engine(), folder)
        _KEPT["stage"], _KEPT["draw"] = stage, stage.draw
    return _with_batch(step, _KEPT["run"])


def _with_batch(step: int, run: Any) -> Callable[[], object]:
    """A step whose batch is read already."""
    stage = _KEPT["stage"]
    batch = _KEPT["draw"](step, None)
    stage.draw = lambda *_: batch
    return lambda: run.step(1e-4)


if __name__ == "__main__":
    main()
