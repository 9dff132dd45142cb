"""The engine computes what one plain process computes, for every objective.

Two processes, cached gradients, sharded parameters, resumed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_stages import ROWS, STAGES, tiny_stage, write_data
from two_processes import (
    CPU,
    MANY,
    MODES,
    Gradients,
    cut_at,
    gradients,
    on_two,
    train,
    train_half,
    train_with_skipped_tower,
    write_all_gradients,
)

from babelclip.errors import ConfigError
from babelclip.train.engine.distributed import ONE_PROCESS, ProcessGroupInfo, gather
from babelclip.train.engine.loop import Engine

LEAST = 1e-9  # of the gradient's norm, in float64
FLOAT32 = {
    *("extra texts", "extra images", "mean of captions", "distill tokens", "class names", "anchor of images"),
    *("features below a cut", "features of a trunk"),
}
"""Vectors of a frozen tower are kept in float32, features of a trunk in float16, and both are computed in batches of
other sizes: rounding shows."""


def tolerance(name: str) -> float:
    return 1e-5 if name in FLOAT32 else LEAST


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    write_data(folder / "data")
    return folder


def alone(name: str, folder: Path, piece: int | None = None) -> tuple[float, Gradients]:
    return gradients(tiny_stage(name, folder / "data"), ONE_PROCESS, "replicate", piece)


def same(found: tuple[float, Gradients], expected: tuple[float, Gradients], least: float) -> None:
    assert found[0] == pytest.approx(expected[0], rel=max(least, 1e-12))
    assert found[1].keys() == expected[1].keys()
    whole = torch.cat([tensor.flatten() for tensor in expected[1].values()])
    apart = torch.cat([(found[1][name] - tensor).flatten() for name, tensor in expected[1].items()])
    assert whole.norm() > 0
    assert apart.norm() <= least * whole.norm()


@pytest.fixture(scope="module")
def of_two_processes(folder: Path) -> list[dict[tuple[str, str], tuple[float, Gradients]]]:
    on_two(folder, write_all_gradients)
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", STAGES)
def test_two_processes_compute_what_one_does(name: str, mode: str, folder: Path, of_two_processes) -> None:
    expected = alone(name, folder)
    for found in of_two_processes:
        same(found[name, mode], expected, tolerance(name))


@pytest.mark.parametrize("name", STAGES)
def test_cached_gradients_are_the_plain_ones(name: str, folder: Path) -> None:
    same(alone(name, folder, 3), alone(name, folder), tolerance(name))


def test_there_may_be_more_pieces_than_rows(folder: Path) -> None:
    name = "hard negatives"  # fourteen of them for seven queries
    same(alone(name, folder, 1), alone(name, folder), LEAST)


def test_a_gathered_row_must_be_the_processes_own() -> None:
    with pytest.raises(ConfigError, match="3 rows of 7"):
        gather(torch.zeros(3, 2), 7, ONE_PROCESS)
    with pytest.raises(ConfigError, match="cannot be shared by 9"):
        ProcessGroupInfo(0, 9).share(ROWS)


def test_shares_are_whole_and_in_order() -> None:
    for size in (1, 2, 3, 5, 7):
        rows = [row for rank in range(size) for row in range(100)[ProcessGroupInfo(rank, size).share(23)]]
        assert rows == list(range(23))


@pytest.mark.parametrize(("name", "piece"), [*((name, None) for name in STAGES), (MANY, 4)])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    tmp_path: Path, folder: Path, name: str, piece: int | None
) -> None:
    engine = Engine(checkpoint_seconds=0.0, piece=piece)
    data = folder / "data"
    whole, resumed = tiny_stage(name, data), tiny_stage(name, data)
    train(whole, tmp_path / "whole", 5, resume=False, engine=engine)
    with pytest.raises(RuntimeError, match="power cut"):
        train(cut_at(tiny_stage(name, data), 3), tmp_path / "cut", 5, resume=False, engine=engine)
    train(resumed, tmp_path / "cut", 5, resume=True, engine=engine)
    for kind in ("module", "head"):
        expected = getattr(whole, kind).state_dict()
        for tensor_name, tensor in getattr(resumed, kind).state_dict().items():
            assert torch.equal(tensor, expected[tensor_name]), tensor_name


def test_saved_on_two_processes_loaded_on_one(tmp_path: Path, folder: Path) -> None:
    whole = tiny_stage(MANY, folder / "data")
    train(whole, tmp_path / "whole", 9, resume=False, engine=Engine())
    on_two(folder, train_half)
    for strategy in ("replicate", "shard"):
        stage = tiny_stage(MANY, folder / "data")
        train(stage, folder / strategy, 9, resume=True, engine=Engine())
        for name, tensor in stage.module.state_dict().items():
            torch.testing.assert_close(tensor, whole.module.state_dict()[name], atol=1e-9, rtol=1e-9)


def test_a_tower_that_rests_in_some_steps_learns_on_two_processes(folder: Path) -> None:
    expected = tiny_stage("a tower rests", folder / "data")
    train(expected, folder / "rests", 4, resume=False, engine=Engine(device=CPU))
    on_two(folder, train_with_skipped_tower)
    found = torch.load(folder / "rests-1.pt")
    for name, tensor in expected.module.state_dict().items():
        torch.testing.assert_close(found[name], tensor, atol=1e-9, rtol=1e-9)
