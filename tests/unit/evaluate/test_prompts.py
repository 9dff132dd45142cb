"""Which templates a language gets, and how they are tidied."""

from __future__ import annotations

from pathlib import Path

import pytest

from babelclip.errors import DatasetError
from babelclip.evaluate.prompts import TRANSLATED_PLAIN, Templates, fill_template, tidy


@pytest.mark.parametrize(
    ("written", "tidied"),
    [
        ("ein Foto von  {} .", "ein Foto von {}."),
        (" {}  の写真", "{} の写真"),
        ("a photo of a {c}.", "a photo of a {}."),
        ("{}" + " " * 50, "{}"),
        ("una foto di {c}\xa0carino", "una foto di {} carino"),
    ],
)
def test_tidy(written: str, tidied: str) -> None:
    assert tidy(written) == tidied


def test_braces_in_a_name_stay() -> None:
    assert fill_template("a {}.", "{odd} {}") == "a {odd} {}."


def english_80() -> list[str]:
    return [f"template {position} {{c}}." for position in range(80)]


def test_english_all_or_plain(tmp_path: Path, write_templates) -> None:
    write_templates("clip_benchmark_en.json", {"imagenet1k": english_80(), "cifar10": ["a {c}.", "the {c}."]})
    assert len(Templates(tmp_path).choose("en", "all")) == 80
    assert Templates(tmp_path).choose("en", "plain") == [f"template {position} {{}}." for position in TRANSLATED_PLAIN]
    assert Templates(tmp_path, "cifar10").choose("en", "all") == ["a {}.", "the {}."]
    with pytest.raises(DatasetError, match="plain"):
        Templates(tmp_path, "cifar10").choose("en", "plain")


def test_translations_are_taken_at_the_english_positions_once_each(tmp_path: Path, write_templates) -> None:
    translated = [f"Bild {position}  {{}} ." for position in range(80)]
    translated[32] = translated[39]  # the language has no articles: both become one sentence
    write_templates("babel_imagenet_nllb_prompts.json", {"DE": translated})
    templates = Templates(tmp_path)
    assert templates.choose("de", "plain") == ["Bild 39 {}.", "Bild 61 {}.", "Bild 33 {}."]
    assert [file.path for file in templates.files] == ["eval/templates/babel_imagenet_nllb_prompts.json"]
    with pytest.raises(DatasetError, match="'xx'"):
        templates.choose("xx", "plain")


def test_people_s_templates_go_before_translations(tmp_path: Path, write_templates) -> None:
    write_templates("clip_benchmark_cn.json", {"imagenet1k": [f"{position}{{c}}。" for position in range(80)]})
    assert Templates(tmp_path).choose("zh", "plain") == ["0{}。", "33{}。", "37{}。", "34{}。"]


def test_a_template_without_place_for_the_name_is_refused(tmp_path: Path, write_templates) -> None:
    write_templates("clip_benchmark_en.json", {"cifar10": ["a photo."]})
    with pytest.raises(DatasetError, match="place for the name"):
        Templates(tmp_path, "cifar10").choose("en", "all")


def test_too_few_templates_are_refused(tmp_path: Path, write_templates) -> None:
    write_templates("babel_imagenet_nllb_prompts.json", {"DE": ["ein {}."]})
    with pytest.raises(DatasetError, match="more than 61"):
        Templates(tmp_path).choose("de", "plain")
