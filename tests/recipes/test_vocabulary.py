"""Pruning on a tiny unigram tokenizer."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tokenizers import Tokenizer

from babelclip.errors import DatasetError
from vocabulary import check, choose_pieces, count_pieces, encode_ids, prune, prune_for

PIECES = ["▁", "a", "b", "c", "z", "ab", "▁ab", "▁abc", "bc", "▁cab", "cab", "za", "語"]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]


def tokenizer_json() -> str:
    vocabulary = [[piece, 0.0] for piece in SPECIALS]
    vocabulary += [[piece, -3.0 + len(piece)] for piece in PIECES]
    vocabulary.append(["<mask>", 0.0])
    added = [
        {"id": i, "content": text, "single_word": False, "lstrip": text == "<mask>", "rstrip": False,
         "normalized": False, "special": True}
        for i, (text, _) in enumerate(vocabulary) if text.startswith("<")
    ]  # fmt: skip
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return json.dumps({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]},
        "post_processor": None,
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": False},
    })  # fmt: skip


def test_specials_keep_their_places_and_text_falls_back_to_shorter_pieces() -> None:
    full = Tokenizer.from_str(tokenizer_json())
    names = [piece for piece, _ in json.loads(tokenizer_json())["model"]["vocab"]]
    kept = [i for i, name in enumerate(names) if name not in {"▁abc", "▁cab", "za"}]
    pruned = prune(tokenizer_json(), kept)
    tokenizer = pruned.tokenizer()
    assert [tokenizer.id_to_token(i) for i in range(4)] == SPECIALS
    assert tokenizer.id_to_token(pruned.size - 1) == "<mask>"
    assert full.encode("abc cab").tokens == ["▁abc", "▁cab"]
    assert tokenizer.encode("abc cab").tokens == ["▁ab", "c", "▁", "cab"]
    assert [names[pruned.kept[i]] for i in tokenizer.encode("abc cab").ids] == ["▁ab", "c", "▁", "cab"]
    assert json.loads(pruned.tokenizer_json)["truncation"] is None


def test_scores_are_kept() -> None:
    before = dict(json.loads(tokenizer_json())["model"]["vocab"])
    after = dict(json.loads(prune(tokenizer_json(), [0, 1, 2, 3, 5, 9, 17]).tokenizer_json)["model"]["vocab"])
    assert after
    assert all(before[piece] == score for piece, score in after.items())


def scored(*, best: str) -> tuple[list[tuple[str, float]], dict[str, int]]:
    """The little vocabulary with one piece of a better score than all others, and the place of each piece."""
    names = [*SPECIALS, *PIECES, "<mask>"]
    return [(name, -1.0 if name == best else -9.0) for name in names], {name: i for i, name in enumerate(names)}


def test_small_languages_and_single_characters_are_kept() -> None:
    vocabulary, place = scored(best="▁abc")
    counts = {
        "large": Counter({place["▁ab"]: 500, place["a"]: 9}),
        "small": Counter({place["za"]: 2, place["z"]: 1}),
    }
    kept = [vocabulary[i][0] for i in choose_pieces(vocabulary, counts, size=10, floor=1, characters=2)]
    assert kept[:4] == SPECIALS
    assert kept[-1] == "<mask>"
    assert {"za", "▁ab", "a", "z", "▁abc"} == set(kept[4:-1])


def test_beyond_coverage_the_vocabularys_own_scores_decide() -> None:
    vocabulary, place = scored(best="▁abc")
    counts = {"x": Counter({place["za"]: 1000, place["▁ab"]: 1})}
    kept = choose_pieces(vocabulary, counts, size=6, floor=0, characters=0)
    assert place["▁abc"] in kept
    assert place["za"] not in kept


def test_characters_that_do_not_occur_fill_up_to_the_number_asked_for() -> None:
    vocabulary, place = scored(best="c")
    counts = {"x": Counter({place["a"]: 1})}
    kept = choose_pieces(vocabulary, counts, size=7, floor=0, characters=2)
    assert {place["a"], place["c"]} <= set(kept)
    assert len(kept) == 7


def test_a_vocabulary_too_small_for_coverage_is_an_error() -> None:
    vocabulary, _ = scored(best="a")
    with pytest.raises(DatasetError, match="too small"):
        choose_pieces(vocabulary, {"x": Counter({4: 1, 5: 1, 6: 1})}, size=6)


def test_counting_and_the_check() -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    counts = count_pieces(tokenizer, [("x", "abc abc"), ("y", "za")])
    assert sum(counts["x"].values()) == 2
    pruned = prune_for(tokenizer_json(), [("x", "abc abc"), ("y", "za")], size=len(PIECES) + 5)
    result = check(tokenizer, pruned.tokenizer(), {"x": ["abc abc"], "y": ["za 語 ü"]})
    assert result["x"].inflation == 1.0
    assert result["x"].unknown_rate == 0.0
    assert result["y"].unknown_rate > 0.0


def test_ids_come_without_specials_and_uncut() -> None:
    (ids,) = encode_ids(Tokenizer.from_str(tokenizer_json()), ["abc abc abc abc abc abc abc abc"])
    assert len(ids) == 8
