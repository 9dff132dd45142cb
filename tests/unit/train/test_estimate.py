"""Figures of a dry run: those that can be counted are counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import read_folder
from babelclip.cli.main import run
from babelclip.towers.config import DualConfig
from babelclip.train.estimate import needs_table, stage_needs
from babelclip.train.recipe import StagePlan, find_recipe, read_recipe
from babelclip.train.tower_plan import prepare_tower

PUBLISHED = Path(__file__).parents[2] / "fixtures" / "goldens" / "v2_a"


def plan(name: str = "finetune-lora") -> StagePlan:
    return read_recipe(find_recipe(name)).stages[0]


@pytest.mark.parametrize("name", ["finetune-lora", "finetune-full"])
@pytest.mark.parametrize("folder", [PUBLISHED, bundled_folder()])
def test_parameters_are_those_of_the_real_towers(name: str, folder: Path) -> None:
    model, stage = read_folder(folder), plan(name)
    needs, towers = stage_needs(stage, model.config), load_towers(model, adapters="live")
    for tower, part in (("text", stage.text), ("vision", stage.image)):
        module = getattr(towers, tower)
        assert prepare_tower(module, part) == needs.towers[tower].trained
        assert sum(parameter.numel() for parameter in module.parameters()) == needs.towers[tower].parameters


def test_rows_and_tokens() -> None:
    needs = stage_needs(plan(), read_folder(bundled_folder()).config)
    assert (needs.towers["text"].rows, needs.towers["text"].tokens) == (64, 64 * 77)
    assert (needs.towers["vision"].rows, needs.towers["vision"].tokens) == (64, 64 * (1 + 9 * 9))


def test_what_saves_memory_saves_it_and_costs_time() -> None:
    stage, config = plan("finetune-full"), DualConfig.jina_clip_v2()
    plain = replace(stage, piece=None, text=replace(stage.text, checkpoint=False))
    cached = replace(plain, piece=32)
    checkpointed = replace(plain, text=replace(plain.text, checkpoint=True))
    frozen = replace(plain, text=replace(plain.text, train="frozen", layer_decay=1.0))
    base, *others = (stage_needs(one, config) for one in (plain, cached, checkpointed, frozen))
    for other in others:
        assert other.bytes_kept < base.bytes_kept
    assert others[0].flops > base.flops
    assert others[1].flops > base.flops
    assert others[2].flops < base.flops
    assert others[2].weights_bytes < base.weights_bytes
    assert pytest.approx(sum(tower.parameters for tower in base.towers.values()), rel=2e-3) == 865e6
    assert "H100" in needs_table(base)


def test_the_command_prints_it_and_reads_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "finetune-lora", "--model", "bundled", "--data", "nowhere", "--dry-run"]) == 0
    assert "stage captions" in capsys.readouterr().out


def test_the_large_recipe_is_counted_without_its_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "large/release", "--data", "nowhere", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert all(f"stage {name}" in shown for name in ("stage1a", "stage1b", "stage2", "stage3"))
    assert "558.3M parameters" in shown  # without the adapter and the pooler
