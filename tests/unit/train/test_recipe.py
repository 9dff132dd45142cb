"""Recipes: the project's own load, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from babelclip.errors import ConfigError, DatasetError
from babelclip.train.pipeline import model_config
from babelclip.train.recipe import read_recipe
from babelclip.train.sources import Source, check_manifest, notice, read_manifest

RECIPES = Path(__file__).parents[3] / "recipes"


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = (RECIPES / "small.toml").read_text()
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new))
    return tmp_path / "r.toml"


def test_the_small_recipe_gives_the_small_model() -> None:
    recipe = read_recipe(RECIPES / "small.toml")
    config = model_config(recipe)
    assert config.embed_dim == recipe.model.dims[-1] == 384
    assert config.vision is not None
    assert (config.vision.grid, config.vision.pretrained_grid) == (9, 7)  # more pixels at the end
    assert "fashion_products" in recipe.data.exclude_sources


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("vocabulary = ", "vocabulari = ", "vocabulari"),
        ("vocabulary = 45000\n", "", "missing vocabulary"),
        ("vocabulary = 45000", "vocabulary = 'many'", "vocabulary"),
        ("threads = 2", "threads = true", "threads"),
        ("strength = ", "strength = [", "TOML"),
        ("[space]\n", "[spaces]\n", "spaces"),
        ("budget = { minutes", "budget = { steps = 3, minutes", "exactly one"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_recipe(changed(tmp_path, old, new))


def test_an_absent_recipe_says_where_recipes_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recipes/"):
        read_recipe(tmp_path / "none.toml")


def test_the_manifest_lists_terms_and_misses_are_named() -> None:
    manifest = read_manifest(RECIPES / "training-sources.toml")
    assert all(source.terms and source.origin for source in (*manifest.images, *manifest.texts, *manifest.pretrained))
    assert "fashion_products" not in {source.name for source in manifest.images}
    check_manifest(manifest, {"flickr8k", "coco"}, {"ntrex"})
    with pytest.raises(DatasetError, match="holiday_snaps"):
        check_manifest(manifest, {"holiday_snaps"}, set())
    assert "research only" in notice("m", manifest)


def test_a_manifest_entry_without_terms_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('images = []\ntexts = []\n[[pretrained]]\nname = "a"\nwhat = "b"\norigin = "c"\n')
    with pytest.raises(DatasetError, match="terms"):
        read_manifest(tmp_path / "m.toml")
    assert Source(name="a", what="b", origin="c", terms="d").terms == "d"
