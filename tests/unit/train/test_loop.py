"""The loop: budget, rate, checkpoints, and that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.train.loop import Budget, OptimSettings, RunLog, learning_rate, parameter_groups, run_stage

SETTINGS = OptimSettings(learning_rate=0.05, warmup=0.1)


class Line:
    """A stage that fits y = 2x, with batches that depend on the step alone."""

    name = "line"
    rates: Mapping[str, float] = {}

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Linear(3, 1)
        self.steps_taken: list[int] = []

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self.steps_taken.append(step)
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        return (self.module(x) - 2 * x.sum(dim=1, keepdim=True)).pow(2).mean(), {}

    def evaluate(self) -> dict[str, float]:
        return {"slope": self.module.weight.mean().item()}


def test_a_budget_is_steps_or_minutes() -> None:
    assert Budget(steps=10).progress(5, 0.0) == 0.5
    assert Budget(minutes=2.0).progress(0, 30.0) == 0.25
    for wrong in ({}, {"steps": 1, "minutes": 1.0}):
        with pytest.raises(ConfigError, match="exactly one"):
            Budget(**wrong)


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(SETTINGS, progress / 100) for progress in range(101)]
    assert max(rates) == pytest.approx(0.05)
    assert rates[0] < rates[5] < rates[10] > rates[50] > rates[99]
    assert rates[100] == pytest.approx(0.0, abs=1e-9)


def test_only_matrices_decay() -> None:
    decayed, others = parameter_groups(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), 0.1, {})
    assert (len(decayed["params"]), decayed["weight_decay"]) == (1, 0.1)
    assert (len(others["params"]), others["weight_decay"]) == (3, 0.0)


def test_parameters_have_their_own_share_of_the_rate() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    groups = parameter_groups(module, 0.1, {"0.": 0.25})
    shares = {id(parameter): group["share"] for group in groups for parameter in group["params"]}
    assert [shares[id(parameter)] for parameter in module.parameters()] == [0.25, 0.25, 1.0, 1.0]


def test_a_share_of_zero_leaves_parameters_as_they_are(tmp_path: Path) -> None:
    class HalfFixed(Line):
        rates: Mapping[str, float] = {"weight": 0.0}

    stage = HalfFixed()
    before = [parameter.clone() for parameter in (stage.module.weight, stage.module.bias)]
    settings = replace(SETTINGS, weight_decay=0.0)
    run_stage(stage, Budget(steps=5), settings, tmp_path, RunLog(tmp_path / "log.jsonl"), resume=False)
    assert torch.equal(stage.module.weight, before[0])
    assert not torch.equal(stage.module.bias, before[1])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = Line()
    run_stage(whole, Budget(steps=40), SETTINGS, tmp_path / "a", RunLog(tmp_path / "a.jsonl"), resume=False)

    class Interrupted(Line):
        def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
            if step == 25:
                raise KeyboardInterrupt
            return super().loss(step)

    def run(stage: Line, resume: bool) -> None:
        log = RunLog(tmp_path / "b.jsonl")
        run_stage(stage, Budget(steps=40), SETTINGS, tmp_path / "b", log, resume=resume, checkpoint_seconds=0.0)

    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(), resume=False)
    resumed = Line()
    run(resumed, resume=True)
    assert resumed.steps_taken == list(range(25, 40))
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle: the checkpoint on disk is whole and the run ends at its budget."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_loop as t; from pathlib import Path; import time\n"
        "class Slow(t.Line):\n"
        "    def loss(self, step):\n"
        "        time.sleep(0.01); print(step, flush=True); return super().loss(step)\n"
        "f = Path(sys.argv[1]); t.run_stage(Slow(), t.Budget(steps=2000), t.SETTINGS, f, t.RunLog(f / 'log.jsonl'),"
        " resume=False, checkpoint_seconds=0.0)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "30":
                os.kill(process.pid, signal.SIGKILL)
                break
    stage = Line()
    run_stage(stage, Budget(steps=60), SETTINGS, tmp_path, RunLog(tmp_path / "log.jsonl"), resume=True)
    assert stage.steps_taken[0] >= 29
    assert stage.steps_taken[-1] == 59
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["slope"] == pytest.approx(stage.evaluate()["slope"], abs=1e-4)
