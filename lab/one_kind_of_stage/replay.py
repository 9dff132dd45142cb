"""Every recorded stage of the old trainers once more, in the new one; each figure of each step is compared.

    python lab/one_kind_of_stage/replay.py RECORDED [--stages text image] [--out RESULT.json]

Each stage runs as the new trainer is, and with the known differences of rounding switched to the old way, which tells
them from differences of what is computed; where there are several, also with each of them alone. One thread, float32.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from recorded import RecordedStage, Tensors, recorded_stages
from replayed_contrast import contrast_stage
from replayed_pipeline import captions_stage, images_stage, texts_stage, tokens_stage
from replayed_stage import Replayed

from babelclip.atomic_write import write_json
from babelclip.evaluate.results import describe_origin, now
from babelclip.towers.vision import VisionTower
from babelclip.train.engine.loop import Budget, Engine, StageRun
from babelclip.train.engine.optimizer import OptimizerSettings, learning_rate

OLD_CODE = "48fbca9"
STAGES: Mapping[str, Callable[[RecordedStage], Replayed]] = {
    "TokenStage": tokens_stage,
    "TextStage": texts_stage,
    "ImageStage": images_stage,
    "CaptionStage": captions_stage,
    "ContrastStage": contrast_stage,
}
ROUNDING = {
    "schedule": "the schedule's cosine was in float32; new: math.cos",
    "attention": "contrastive stages left the attention kernel to torch; new: plain products up to 128 tokens on a CPU",
    "last_block": "contrastive stages computed the image tower's last block for all tokens; new: for CLS alone",
}
"""Where the new trainer rounds otherwise."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Agreement:
    """How near the new figures are to the recorded ones."""

    bit_equal_steps: int  # whose every figure is
    loss: float  # largest relative difference of a step's loss
    figures: Mapping[str, float]  # of every other figure that both trainers tell
    weights: float  # largest difference of an element, as a share of its tensor's largest, after the last step
    bit_equal_weights: str  # tensors
    average: float | None  # the same of the moving average; None: there was none


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recorded", type=Path)
    parser.add_argument("--stages", nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    origin = describe_origin({}, None, "one_kind_of_stage", 0)
    chosen = [one for one in recorded_stages(arguments.recorded) if one.name in (arguments.stages or [one.name])]
    stages = {one.name: compare(one) for one in chosen}
    if arguments.out is not None:
        told = {
            "date": now(),
            "commit": origin.commit,
            "old_commit": OLD_CODE,
            "machine": {**origin.machine, "cpu_capability": torch.backends.cpu.get_cpu_capability()},
            "recorded_on": json.loads((arguments.recorded / "environment.json").read_text()),
            "rounding": ROUNDING,
        }
        before = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
        others = before.get("stages", {})
        write_json(arguments.out, before | told | {"stages": others | stages}, indent=1)


def compare(recorded: RecordedStage) -> dict[str, Any]:
    """All runs of a stage."""
    rounding = rounding_of(recorded)
    told: dict[str, Any] = {"steps": recorded.meta["steps"], "rounding": rounding}
    told["as_it_is"] = asdict(agreement(recorded, "as it is"))
    told["old_rounding"] = asdict(agreement(recorded, "old rounding", rounding))
    if len(rounding) > 1:
        told["loss_by_rounding"] = {
            one: agreement(recorded, f"only {one}", [other for other in rounding if other != one]).loss
            for one in rounding
        }
    return told


def rounding_of(recorded: RecordedStage) -> Sequence[str]:
    """The differences of rounding that a stage meets."""
    return [*ROUNDING] if recorded.meta["stage"] == "ContrastStage" else ["schedule"]


def agreement(recorded: RecordedStage, way: str, rounding: Sequence[str] = ()) -> Agreement:
    """Run a stage, and compare all that both trainers tell.

    Args:
        recorded: The stage.
        way: In words.
        rounding: What is rounded the old way.
    """
    replayed = STAGES[recorded.meta["stage"]](recorded)
    found, end = _run(recorded, replayed, rounding)
    names = {"loss": "loss", "rate": "rate", "gradient": "gradient", **replayed.figures}
    worst = dict.fromkeys(names, 0.0)
    equal = 0
    for before, after in zip(recorded.figures, found, strict=True):
        pairs = {name: (value, after[names[name]]) for name, value in before.items() if name in names}
        equal += all(one == two for one, two in pairs.values())
        worst |= {name: max(worst[name], _difference(*pair)) for name, pair in pairs.items()}
    loss = worst.pop("loss")
    state = replayed.stage.module.state_dict() | replayed.stage.head.state_dict()
    weights, equal_weights = _weights(recorded.after, replayed, state)
    _check_trained(recorded, replayed, weights)
    average: Figures = {}
    if end.state.average is not None:
        average, _ = _weights(recorded.average, replayed, end.state.average.kept)
    told = f"{equal_weights} of {len(weights)}"
    reached = Agreement(equal, loss, worst, max(weights.values()), told, max(average.values(), default=None))
    print(
        f"{recorded.name:28s} {way:16s} {equal:2d} of {len(found)} steps bit for bit; loss {loss:.1e}, "
        f"weights {reached.weights:.1e} ({told} bit for bit)",
        flush=True,
    )
    return reached


def _run(recorded: RecordedStage, replayed: Replayed, rounding: Sequence[str]) -> tuple[list[Figures], StageRun]:
    """All recorded steps by the new engine."""
    settings, budget = OptimizerSettings(**recorded.meta["optim"]), Budget(steps=recorded.meta["steps"])
    run, found = StageRun(replayed.stage, settings, Engine()), []
    with _rounded(rounding):
        for step, before in enumerate(recorded.figures):
            rate = learning_rate(settings, budget.progress(step, 0.0))
            loss, figures = run.step(before["rate"] if "schedule" in rounding else rate)
            found.append({"loss": float(loss), **{name: float(figure) for name, figure in figures.items()}})
    return found, run


@contextmanager
def _rounded(rounding: Sequence[str]) -> Iterator[None]:
    """The old arithmetic in some places."""
    own = VisionTower.encode_tokens

    def of_all(tower: VisionTower, tokens: torch.Tensor, positions: torch.Tensor | None, cls_only: bool) -> Any:
        return own(tower, tokens, positions)

    with ExitStack() as stack:
        if "attention" in rounding:
            any_kernel = patch("babelclip.train.stage_towers.attention_for", lambda device, tokens: nullcontext())
            stack.enter_context(any_kernel)
        if "last_block" in rounding:
            stack.enter_context(patch.object(VisionTower, "encode_tokens", of_all))
        yield


def _weights(before: Tensors, replayed: Replayed, after: Tensors) -> tuple[Figures, int]:
    """Difference of each tensor that both trainers have, and how many are equal bit for bit."""
    named = {name: replayed.parameters(name) for name in before}
    both = {name: (before[name], after[named[name]]) for name in before if named[name] in after}
    shares = {name: float((one - two).abs().max() / one.abs().max()) for name, (one, two) in both.items()}
    return shares, sum(torch.equal(*pair) for pair in both.values())


def _check_trained(recorded: RecordedStage, replayed: Replayed, compared: Mapping[str, float]) -> None:
    """Nothing learns that did not; of what learned, only temperatures that no loss read are no more."""
    named = [*replayed.stage.module.named_parameters(), *replayed.stage.head.named_parameters()]
    more = {name for name, one in named if one.requires_grad} - {replayed.parameters(name) for name in recorded.after}
    assert not more, f"trained, and were not: {more}"
    start = recorded.before("head")
    for name, tensor in recorded.after.items():
        assert name in compared or torch.equal(tensor, start[name.removeprefix("head.")]), f"{name} learned something"


def _difference(one: float, two: float) -> float:
    return abs(one - two) / max(abs(one), 1e-12)


if __name__ == "__main__":
    main()
