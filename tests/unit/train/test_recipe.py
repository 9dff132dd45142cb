"""Recipes: the project's own load, mistakes are named; a generator over every field of every table finds none taken."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.decode import decode
from babelclip.errors import ConfigError
from babelclip.train.recipe import Recipe, find_recipe, read_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = ("nano", "finetune-lora", "finetune-full", "small", "large/release")


@pytest.mark.parametrize("name", NAMES)
def test_the_projects_own_are_read(name: str) -> None:
    recipe = read_recipe(find_recipe(name))
    assert recipe.folder == (RECIPES / name).parent
    drawn = {source for stage in recipe.stages for source in _sources_of(dataclasses.asdict(stage))}
    assert drawn <= set(recipe.data)


def _sources_of(table: Any) -> Iterator[str]:
    if isinstance(table, dict):
        if isinstance(table.get("sources"), dict):
            yield from table["sources"]
        for value in table.values():
            yield from _sources_of(value)
    elif isinstance(table, list | tuple):
        for value in table:
            yield from _sources_of(value)


def tables(table: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all tables of a recipe whose keys are fields, not names of somebody's data or parameters."""
    if path[-1:] not in (("data",), ("sources",), ("rates",)):
        yield path
    for key, value in table.items():
        if isinstance(value, dict):
            yield from tables(value, (*path, key))
        elif isinstance(value, list):
            for place, one in enumerate(value):
                if isinstance(one, dict):
                    yield from tables(one, (*path, key, place))


def at(table: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        table = table[key]
    return table


@pytest.mark.parametrize("name", NAMES)
def test_no_key_of_any_table_is_taken_in_silence(name: str) -> None:
    whole = find_recipe(name).read_text(encoding="utf-8")
    for path in tables(tomllib.loads(whole)):
        fields = tomllib.loads(whole)
        at(fields, path)["mistaken"] = 1
        with pytest.raises(ConfigError, match="unknown mistaken"):
            decode(Recipe, fields, name)


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_another_type_is_taken(name: str) -> None:
    whole = find_recipe(name).read_text(encoding="utf-8")
    for path in tables(tomllib.loads(whole)):
        for key, value in at(tomllib.loads(whole), path).items():
            fields = tomllib.loads(whole)
            at(fields, path)[key] = 1.5 if isinstance(value, str) else "text"
            with pytest.raises(ConfigError):
                decode(Recipe, fields, name)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("budget = { minutes = 20.0 }", "budget = { steps = 3, minutes = 20.0 }", "exactly one"),
        ('images_of = "photos"', 'images_of = "tokens"', "which must be an objective above it"),
        (
            'text = { train = "frozen" }\nimage = {',
            'text = { train = "frozen" }\nimage = { train = "frozen",',
            "contradict",
        ),
        ('name = "languages"', 'name = "tokens"', "stages need names of their own"),
        ('name = "pairs"', 'name = "a.b"', "without a dot"),
        ("extra_negatives = 2048", 'extra_negatives = 2048\nloss = "sigmoid"', "goes with loss 'info_nce'"),
        ("every = 3", "every = 0", "every must be at least 1"),
        ("keep_patches = 0.5", "keep_patches = 0.0", "keep_patches must be above 0"),
        ("temperature = { start = 30.0", "temperature = { start = 300.0", "at most its max"),
        (
            'start = "start"',
            'start = "start"\nforeign_weights = { architecture = "jina_clip_v2", text = "a", vision = "b", '
            'tokenizer = "c" }',
            "give one of them",
        ),
    ],
)
def test_contradictions_are_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    text = (RECIPES / "small.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=named):
        read_recipe(tmp_path / "r.toml")


def test_a_trial_is_the_same_with_few_steps() -> None:
    recipe = read_recipe(find_recipe("small"))
    trial = recipe.trial(5)
    assert [stage.budget.steps for stage in trial.stages] == [5] * len(recipe.stages)
    assert [stage.objectives for stage in trial.stages] == [stage.objectives for stage in recipe.stages]


def test_recipes_are_found_by_name_and_other_tables_are_none(tmp_path: Path) -> None:
    assert find_recipe("small").name == "small.toml"
    with pytest.raises(ConfigError, match=r"one of finetune-full, finetune-lora, large/release, nano, small$"):
        find_recipe("tiny")
    with pytest.raises(ConfigError, match="recipes/"):
        read_recipe(tmp_path / "none.toml")
    for broken in (b"strength = [", "seed = 'ä'".encode("latin-1")):
        (tmp_path / "r.toml").write_bytes(broken)
        with pytest.raises(ConfigError, match="not TOML in UTF-8"):
            read_recipe(tmp_path / "r.toml")
