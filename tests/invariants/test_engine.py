"""The engine computes what one plain process computes: two processes, cached gradients, sharded parameters, resumed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from pair_stage import LOSSES, ROWS, PairStage
from two_processes import MODES, Cut, Gradients, gradients, on_two, train, train_half, write_all_gradients

from babelclip.errors import ConfigError
from babelclip.train.loop import Engine
from babelclip.train.spread import Ranks, gather

LEAST = 1e-9  # of the gradient's norm, in float64


def alone(loss: str, piece: int | None = None) -> tuple[float, Gradients]:
    return gradients(PairStage(loss), Ranks(), "replicate", piece)


def same(found: tuple[float, Gradients], expected: tuple[float, Gradients]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    assert found[1].keys() == expected[1].keys()
    whole = torch.cat([tensor.flatten() for tensor in expected[1].values()])
    apart = torch.cat([(found[1][name] - tensor).flatten() for name, tensor in expected[1].items()])
    assert apart.norm() <= LEAST * whole.norm()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], tuple[float, Gradients]]]:
    folder = tmp_path_factory.mktemp("two")
    on_two(folder, write_all_gradients)
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_compute_what_one_does(loss: str, mode: str, of_two_processes) -> None:
    expected = alone(loss)
    for found in of_two_processes:
        same(found[loss, mode], expected)


@pytest.mark.parametrize("piece", [1, 3, 14])
@pytest.mark.parametrize("loss", LOSSES)
def test_cached_gradients_are_the_plain_ones(loss: str, piece: int) -> None:
    if piece == 1:
        with pytest.raises(ConfigError, match="cannot be cut into 14 pieces"):
            alone(loss, piece)  # seven texts for fourteen negatives: told, not padded in silence
        return
    same(alone(loss, piece), alone(loss))


def test_a_gathered_row_must_be_the_ranks_own() -> None:
    with pytest.raises(ConfigError, match="3 rows of 7"):
        gather(torch.zeros(3, 2), 7, Ranks())
    with pytest.raises(ConfigError, match="cannot be shared by 9"):
        Ranks(0, 9).share(ROWS)


def test_shares_are_whole_and_in_order() -> None:
    for size in (1, 2, 3, 5, 7):
        rows = [row for rank in range(size) for row in range(100)[Ranks(rank, size).share(23)]]
        assert rows == list(range(23))


@pytest.mark.parametrize("piece", [None, 4])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(tmp_path: Path, piece: int | None) -> None:
    engine = Engine(checkpoint_seconds=0.0, piece=piece)
    whole, resumed = PairStage("info_nce mean"), PairStage("info_nce mean")
    train(whole, tmp_path / "whole", 9, resume=False, engine=engine)
    with pytest.raises(RuntimeError, match="power cut"):
        train(Cut("info_nce mean"), tmp_path / "cut", 9, resume=False, engine=engine)
    train(resumed, tmp_path / "cut", 9, resume=True, engine=engine)
    for kind in ("module", "head"):
        expected = getattr(whole, kind).state_dict()
        for name, tensor in getattr(resumed, kind).state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_saved_on_two_processes_loaded_on_one(tmp_path: Path) -> None:
    whole = PairStage("info_nce mean")
    train(whole, tmp_path / "whole", 9, resume=False, engine=Engine())
    on_two(tmp_path, train_half)
    for how in ("replicate", "shard"):
        stage = PairStage("info_nce mean")
        train(stage, tmp_path / how, 9, resume=True, engine=Engine())
        for name, tensor in stage.module.state_dict().items():
            torch.testing.assert_close(tensor, whole.module.state_dict()[name], atol=1e-9, rtol=1e-9)
