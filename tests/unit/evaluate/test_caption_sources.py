"""Captions by people and by machine are told apart by their sources."""

from __future__ import annotations

import pytest

from babelclip.evaluate.caption_sources import writers_of, written_by
from babelclip.evaluate.read_pack import PackPhoto


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("flickr8k", "human"),
        ("xflickrco_human", "human"),
        ("multi30k_t1_human_translation", "human_translation"),
        ("multiscript30k_mt", "machine"),
        ("arabic_flickr8k_mt_verified", "machine"),
        ("openai_api_generated_then_reviewed", "machine"),
    ],
)
def test_kinds_of_sources(source: str, kind: str) -> None:
    assert writers_of(source) == kind


def test_a_language_is_of_one_kind_or_mixed() -> None:
    def photo(sources: dict[str, list[str]]) -> PackPhoto:
        return PackPhoto("k", b"", {"captions": {lang: ["x"] for lang in sources}, "caption_sources": sources})

    photos = [
        photo({"en": ["flickr8k"], "de": ["a_human_translation", "b_human"], "uk": ["a_mt"]}),
        photo({"en": ["other_human"], "zh": ["a_mt"]}),
        photo({"zh": ["b_human"]}),
        PackPhoto("k", b"", {"captions": {"fr": ["x"]}}),
    ]
    assert written_by(photos, ["en", "de", "uk", "zh", "fr"]) == {
        "captions_human": ["en"],
        "captions_mixed": ["de", "zh"],
        "captions_machine": ["uk"],
    }
