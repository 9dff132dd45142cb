"""What of a record becomes a photo's captions and label, and which targets a text has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_data import records, write_pack

from babelclip.errors import DatasetError
from corpus import MAX_CHARACTERS, Corpus, add_parallel, add_photo_captions, add_scored_pairs
from packs import PhotoRecord, held_out_photos, parse_record, read_pack, read_packs, spread
from parts import in_parts
from photos import LANGUAGES_OF_A_NAME, captions_of, folder_of, meaning_of

NAMES = {"in1k:001": {"en": "goldfish", "de": "Goldfisch", "en_alt": "Carassius auratus", "xx": "zzz"}}
PHOTO = PhotoRecord("a.jpg", "s", "caption", "", {"en": ("a dog", "a black dog"), "de": ("ein Hund",)}, None)
FISH = PhotoRecord("b", "s", "label", "", {"en": ("Goldfish", "a fish, swimming")}, "in1k:001")
PLAIN = PhotoRecord("c", "s", "photo", "", {}, None)


def test_a_captioned_photo_has_all_its_captions_and_a_labeled_one_its_names() -> None:
    assert captions_of(PHOTO, NAMES) == {"en": ["a dog", "a black dog"], "de": ["ein Hund"]}
    named = captions_of(FISH, NAMES)
    assert named["en"][0] in ("Goldfish", "goldfish")
    assert {language: texts for language, texts in named.items() if language != "en"} == {
        "de": ["Goldfisch", "ein Foto von Goldfisch"], "xx": ["zzz"]
    }  # fmt: skip
    assert captions_of(PLAIN, NAMES) == {}


def test_a_name_stands_in_few_languages_and_long_ones_in_no_prompt() -> None:
    many = {"in1k:001": {f"l{number}": f"n{number}" for number in range(40)}}
    assert len(captions_of(FISH, many)) == 1 + LANGUAGES_OF_A_NAME
    assert captions_of(FISH, many) == captions_of(replace(FISH, id="z"), many)  # a label's choice, not a photo's
    wordy = replace(FISH, captions={"en": ("one two three four five six",)}, label=None)
    assert captions_of(wordy, {}) == {"en": ["one two three four five six"]}


def test_photos_of_one_thing_share_a_label_and_captioned_ones_have_none() -> None:
    assert meaning_of(FISH) == "goldfish"
    assert meaning_of(PHOTO) is None
    assert meaning_of(PLAIN) is None


def test_folders_tell_what_is_held_out_and_what_has_no_captions() -> None:
    assert [folder_of(photo, frozenset({"a.jpg"})) for photo in (PHOTO, FISH, PLAIN)] == ["s_held_out", "s", "s_plain"]


def test_a_key_is_the_id_without_the_suffix_of_an_image() -> None:
    assert [replace(PHOTO, id=name).key for name in ("f/1.jpg", "f/1.JPEG", "f/1", "f/v1.5")] == [
        "f/1", "f/1", "f/1", "f/v1.5"
    ]  # fmt: skip


def test_translations_are_pulled_to_the_english_and_names_to_prompts_too() -> None:
    corpus = Corpus()
    rows = [("concept_x", 1, "de", "Hund"), ("concept_x", 1, "en", "dog"), ("concept_x", 2, "de", "allein")]
    add_parallel(corpus, rows)
    assert [(row.text, row.group, row.targets) for row in corpus.rows] == [
        ("Hund", "concept_x", ("dog",)),
        ("ein Foto von Hund", "concept_x_prompt", ("a photo of a dog",)),
        ("dog", "concept_x", ("dog",)),
        ("a photo of a dog", "concept_x_prompt", ("a photo of a dog",)),
    ]
    assert list(corpus.english) == ["dog", "a photo of a dog"]


def test_the_limit_counts_meanings_and_cuts_none_apart() -> None:
    corpus = Corpus()
    rows = [("g", pid, language, f"{language}{pid}") for language in ("en", "de") for pid in range(5)]
    add_parallel(corpus, rows, limit=2)
    assert [row.text for row in corpus.rows] == ["en0", "de0", "en1", "de1"]


def test_captions_are_pulled_to_the_mean_of_the_photos_english_ones() -> None:
    corpus = Corpus()
    long = replace(PHOTO, id="l", captions={"en": ("x" * 500,), "de": ("y" * 500,)})
    add_photo_captions(
        corpus, [PHOTO, replace(PHOTO, id="held"), FISH, replace(FISH, id="d"), long], frozenset({"held"})
    )
    found = [(row.text, row.targets) for row in corpus.rows]
    assert found[:3] == [
        ("a dog", ("a dog", "a dog", "a black dog")),
        ("a black dog", ("a black dog", "a dog", "a black dog")),
        ("ein Hund", ("a dog", "a black dog")),
    ]
    assert [text for text, _ in found].count("ein Hund") == 1  # those of the photo that is held out are not there
    assert [text for text, _ in found].count("Goldfish") == 1  # names repeat from photo to photo
    assert len(found[-1][0]) == MAX_CHARACTERS
    assert found[-1][1] == ("x" * 500,)  # an id stays whole


def test_scored_pairs_are_translations_where_they_are_the_same_pairs() -> None:
    corpus = Corpus()
    rows = [
        ("en", "a", "b", 5.0),
        ("en", "c", "d", 1.0),
        ("de", "A", "B", 5.0),
        ("de", "C", "D", 1.0),
        ("fr", "x", "y", 2.0),
    ]
    add_scored_pairs(corpus, rows)
    assert [pair.score for pair in corpus.pairs] == [1.0, 0.2, 1.0, 0.2, 0.4]
    assert ("D", ("d",)) in [(row.text, row.targets) for row in corpus.rows]
    assert "x" not in {row.text for row in corpus.rows}


def test_packs_are_read_in_order_and_without_what_is_excluded(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    write_pack(tmp_path / "train" / "a.tar.gz", records())
    found = list(read_packs(tmp_path, ("fashion_products",)))
    assert len(found) == len(records()) - 1
    assert found[0][0].id == "flickr8k/0.jpg"
    assert found[0][1] == records()[0][1]
    kinds = {record.source for record in spread((record for record, _ in found), frozenset(), 3)}
    assert kinds == {"flickr8k", "imagenette", "coco"}


def test_a_record_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x\.json: .*'source'"):
        parse_record({"id": "a"}, "x.json")
    with pytest.raises(DatasetError, match="captions"):
        parse_record({"id": "a", "source": "s", "kind": "caption", "captions": ["a"]}, "x.json")
    with pytest.raises(DatasetError, match=r"no \*\.tar\.gz packs"):
        next(read_packs(tmp_path))
    (fields, image), *_ = records()
    write_pack(tmp_path / "p.tar.gz", [({"id": "x", "kind": "caption"}, image)])
    with pytest.raises(DatasetError, match=r"p\.tar\.gz:0\.json.*'source'"):
        list(read_pack(tmp_path / "p.tar.gz"))
    assert fields["source"] == "flickr8k"


def test_every_so_manieth_photo_with_english_captions_is_held_out() -> None:
    photos = [replace(PHOTO, id=f"s/{number}") for number in range(400)]
    held = held_out_photos([*photos, replace(FISH, source="t"), PLAIN], "s", 8)
    assert 20 < len(held) < 80
    assert held == held_out_photos(reversed(photos), "s", 8)


def test_parts_that_are_there_are_not_computed_again(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def compute(items: list[int]) -> np.ndarray:
        asked.append(list(items))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return np.array([[item] for item in items], dtype=np.float16)

    with pytest.raises(KeyboardInterrupt):
        in_parts(tmp_path / "parts", "numbers", range(10), compute, size=3, say=lambda line: None)
    said: list[str] = []
    found = in_parts(tmp_path / "parts", "numbers", range(10), compute, size=3, say=said.append)
    assert found[:, 0].tolist() == list(range(10))
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [6, 7, 8], [9]]
    assert len(said) == 2
