"""The loop: budget, rate, checkpoints, and that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.train.engine.batch import Batch, TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.loop import Budget, Engine, run_stage
from babelclip.train.engine.optimizer import (
    Average,
    OptimizerSettings,
    clip_gradients,
    layer_rates,
    learning_rate,
    parameter_groups,
)
from babelclip.train.engine.run_log import RunLog

SETTINGS = OptimizerSettings(learning_rate=0.05, warmup=0.1)
EAGER = Engine(checkpoint_seconds=0.0)


class Line:
    """A stage that fits y = 2x, with batches that depend on the step alone."""

    name = "line"
    rates: Mapping[str, float] = {}

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Linear(3, 1)
        self.head = nn.Module()
        self.steps_taken: list[int] = []

    def draw(self, step: int, group: ProcessGroupInfo) -> Batch:
        self.steps_taken.append(step)
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        return Batch((TowerInput("vectors", (x[group.share(16)],), 16),), 2 * x.sum(dim=1, keepdim=True))

    def encode(self, rows: TowerInput) -> Tensor:
        y: Tensor = self.module(rows.rows[0])
        return y

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return (vectors[0] - batch.labels).pow(2).mean(), {}

    def evaluate(self) -> dict[str, float]:
        return {"slope": self.module.weight.mean().item()}

    def shards(self) -> list[nn.Module]:
        return []

    def whole(self) -> list[nn.Parameter]:
        return []

    uses_all = True


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
    decayed, others = parameter_groups(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).named_parameters(), 0.1, {})
    assert (len(decayed["params"]), decayed["weight_decay"]) == (1, 0.1)
    assert (len(others["params"]), others["weight_decay"]) == (3, 0.0)


def test_parameters_have_their_own_share_of_the_rate() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    groups = parameter_groups(module.named_parameters(), 0.1, {"0.": 0.25})
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
        def draw(self, step: int, group: ProcessGroupInfo) -> Batch:
            if step == 25:
                raise RuntimeError("power cut")
            return super().draw(step, group)

    def run(stage: Line, resume: bool) -> None:
        log = RunLog(tmp_path / "b.jsonl")
        run_stage(stage, Budget(steps=40), SETTINGS, tmp_path / "b", log, resume=resume, engine=EAGER)

    with pytest.raises(RuntimeError, match="power cut"):
        run(Interrupted(), resume=False)
    resumed = Line()
    run(resumed, resume=True)
    assert resumed.steps_taken == list(range(25, 40))
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle: the checkpoint on disk is whole and the run ends at its budget."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_loop as t; from pathlib import Path\n"
        "class Slow(t.Line):\n"
        "    def draw(self, step, group):\n"
        "        print(step, flush=True); return super().draw(step, group)\n"
        "f = Path(sys.argv[1]); t.run_stage(Slow(), t.Budget(steps=2000), t.SETTINGS, f, t.RunLog(f / 'log.jsonl'),"
        " resume=False, engine=t.EAGER)\n"
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


def test_ctrl_c_ends_the_step_saves_and_stops(tmp_path: Path) -> None:
    class Interrupted(Line):
        def draw(self, step: int, group: ProcessGroupInfo) -> Batch:
            if step == 7:
                os.kill(os.getpid(), signal.SIGINT)
            return super().draw(step, group)

    log = RunLog(tmp_path / "log.jsonl")
    with pytest.raises(KeyboardInterrupt):
        run_stage(Interrupted(), Budget(steps=20), SETTINGS, tmp_path, log, resume=False)
    stage = Line()
    run_stage(stage, Budget(steps=20), SETTINGS, tmp_path, log, resume=True)
    assert stage.steps_taken[0] == 8  # the step that was running was finished and kept


def test_a_finished_stage_is_not_run_again_and_keeps_its_average(tmp_path: Path) -> None:
    settings, log = replace(SETTINGS, average=0.9), RunLog(tmp_path / "log.jsonl")
    first = Line()
    run_stage(first, Budget(steps=30), settings, tmp_path, log, resume=False)
    again = Line()
    run_stage(again, Budget(steps=30), settings, tmp_path, log, resume=True)
    assert again.steps_taken == []
    for name, tensor in first.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name]), name


def test_the_average_is_what_its_definition_says() -> None:
    module = nn.Linear(2, 1, bias=False)
    average = Average(module.named_parameters(), decay=0.5)
    expected = module.weight.detach().clone()
    for step in range(1, 6):
        module.weight.data += step
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * module.weight.detach()
        average.update(step)
    live = module.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(module.weight.detach(), expected)
    assert torch.equal(module.weight, live)


def test_gradients_are_clipped_to_a_common_norm() -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0, 0.0]), torch.full((2, 2), 2.0)
    assert clip_gradients(parameters, 1.0).item() == pytest.approx(5.0)
    assert parameters[0].grad[0].item() == pytest.approx(0.6, rel=1e-5)
    assert clip_gradients(parameters, 10.0).item() == pytest.approx(1.0, rel=1e-5)
    assert parameters[0].grad[0].item() == pytest.approx(0.6, rel=1e-5)


def test_layer_rates_fall_towards_the_bottom() -> None:
    assert layer_rates("text.blocks", 3, 0.5) == {"text.blocks.0.": 0.25, "text.blocks.1.": 0.5, "text.blocks.2.": 1.0}


def test_tensorboard_reads_what_the_log_says(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path / "log.jsonl", tensorboard=True)
    run_stage(Line(), Budget(steps=20), SETTINGS, tmp_path, log, resume=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    [slope] = events.Scalars("line/slope")
    assert (slope.step, slope.value) == (20, pytest.approx(lines[-1]["slope"], abs=1e-4))
    losses = {point.step: point.value for point in events.Scalars("line/loss")}
    assert losses == {line["step"]: pytest.approx(line["loss"], abs=1e-4) for line in lines if "loss" in line}
