"""Model cards: their metadata block says to others what was meant, and is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.card import CardFacts, license_of, make_card
from babelclip.errors import FolderError
from babelclip.prepare.config import TextPrepareConfig
from babelclip.towers.config import DualConfig, TextTowerConfig

CONFIG = DualConfig(
    text=TextTowerConfig(
        vocab_size=10, width=4, num_layers=1, num_heads=1, hidden=4, embed_dim=4, rotary_base=1e4, projection=False
    ),
    vision=None,
    dims=(4,),
)


def card(facts: CardFacts) -> str:
    return make_card("a model", CONFIG, TextPrepareConfig(max_tokens=8), None, facts)


def test_the_block_is_yaml_that_means_what_was_said() -> None:
    """Norwegian is no in ISO 639, which bare YAML takes for false."""
    text = card(CardFacts(license="apache-2.0", summary="A model.", languages=("en", "no", "zh")))
    block = yaml.safe_load(text.split("---\n")[1])
    assert block == {"license": "apache-2.0", "library_name": "babelclip", "language": ["en", "no", "zh"]}


def test_the_shipped_card_names_languages_by_codes() -> None:
    block = yaml.safe_load((bundled_folder() / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert all(isinstance(code, str) for code in block["language"]), block["language"]


def test_a_model_may_know_no_language_by_name() -> None:
    text = card(CardFacts(license="other", summary="A model."))
    assert text.startswith("---\nlicense: other\nlibrary_name: babelclip\n---\n\n# a model")


def test_the_license_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    assert license_of(file) == "other"
    file.write_text(card(CardFacts(license="cc-by-nc-4.0", summary="license: mit is what another model has.")))
    assert license_of(file) == "cc-by-nc-4.0"
    file.write_text("# No block\n\nlicense: mit\n", encoding="utf-8")
    assert license_of(file) == "other"
    assert license_of(bundled_folder() / "README.md") == "apache-2.0"


@pytest.mark.parametrize("block", ["license: [", "- license"])
def test_a_broken_block_is_told(block: str, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"---\n{block}\n---\n", encoding="utf-8")
    with pytest.raises(FolderError, match="expected YAML"):
        license_of(file)
