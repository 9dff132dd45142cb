"""A stage after a sharded one: its towers are whole again, with what was learned in them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training_stages import STAGES, tiny_stage, write_data
from two_processes import CPU, on_two, train

from babelclip.decode import decode
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.loop import Engine
from babelclip.train.recipe import StagePlan
from babelclip.train.run import whole_again
from babelclip.train.tower_plan import release_tower

NAMES = ("info_nce", "low rank", "distill texts", "distill tokens")  # the last two measure on held-out texts


def train_sharded(group: ProcessGroupInfo, folder: Path) -> None:
    for name in NAMES:
        stage = tiny_stage(name, folder / "data", group=group)
        engine = Engine(group=group, strategy="shard")
        train(stage, folder / f"{name}-{group.rank}", 3, resume=False, engine=engine)
        whole = whole_again(stage.towers.model, plan_of(name), CPU)
        for tower in (whole.text, whole.vision):
            assert tower is not None
            release_tower(tower)
        torch.save(whole.state_dict(), folder / f"{name}-{group.rank}.pt")


def plan_of(name: str) -> StagePlan:
    """What a recipe would say of a tiny stage."""
    table = {"name": name, "budget": {"steps": 3}, "optimizer": {"learning_rate": 1e-2}, **STAGES[name]}
    return decode(StagePlan, table, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    write_data(folder / "data")
    on_two(folder, train_sharded)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_towers_are_whole_again_in_every_process(name: str, folder: Path) -> None:
    alone = tiny_stage(name, folder / "data")
    train(alone, folder / f"{name}-alone", 3, resume=False, engine=Engine())
    for tower in (alone.towers.model.text, alone.towers.model.vision):
        assert tower is not None
        release_tower(tower)
    expected = alone.towers.model.state_dict()
    for rank in range(2):
        found = torch.load(folder / f"{name}-{rank}.pt")
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-8, rtol=1e-8)
