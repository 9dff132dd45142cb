"""Tasks, limits, cuts, adapters, padding and bad texts, on a small real tokenizer (1,000 pieces)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from babelclip.arrays import NO_ADAPTER
from babelclip.errors import ConfigError, FolderError, TextError, UnknownTask
from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.text import TextPreparer, check_text

TOKENIZER = Path(__file__).parents[2] / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"
LONG = "in the end of the day " * 20


def preparer(**options: Any) -> TextPreparer:
    return TextPreparer(TOKENIZER, TextPrepareConfig(**{"max_tokens": 512, **options}))


V2 = {"instructions": {"retrieval.query": "the query: "}, "adapters": ("retrieval.query",)}
V3 = {"instructions": {"query": "the query: ", "passage": "", "same": ""}, "adapters": ("query", "passage", "same")}


def test_a_cut_keeps_the_start_and_the_closing_token() -> None:
    full = preparer().tokenize([LONG]).token_ids[0]
    assert len(full) > 60
    for limit in (3, 4, 17, len(full) - 1, len(full), len(full) + 1):
        found = preparer().tokenize([LONG, "a"], max_tokens=limit)
        assert found.token_ids[0] == (full if limit >= len(full) else [*full[: limit - 1], 2])
        assert found.token_ids[1] == [0, 10, 2]
        assert found.num_cut == (limit < len(full))
        assert found.num_dropped == max(0, len(full) - limit)
        assert found.longest == len(full)
        assert found.max_tokens == limit


def test_the_default_limit_is_the_models_context() -> None:
    assert len(preparer(max_tokens=12).tokenize([LONG]).token_ids[0]) == 12
    assert preparer(max_tokens=12).tokenize([LONG]).num_cut == 1
    assert preparer(max_tokens=8192).tokenize([LONG]).num_cut == 0


@pytest.mark.parametrize("limit", [0, 2, -1, 513, 3.0, "77", True])
def test_limits_out_of_range(limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"from 3 \(two special ones and one more\) to this model's 512"):
        preparer().tokenize(["a"], max_tokens=limit)


def test_the_instruction_goes_in_front_and_counts() -> None:
    plain, query = preparer(**V2).tokenize(["a"]), preparer(**V2).tokenize(["a"], task="retrieval.query")
    assert query.token_ids == preparer().tokenize(["the query: a"]).token_ids
    assert len(query.token_ids[0]) > len(plain.token_ids[0])
    assert preparer(**V2).tokenize(["a"], task="retrieval.query", max_tokens=3).num_cut == 1


@pytest.mark.parametrize("task", ["retrieval.passage", "", "Retrieval.Query", 3, ["retrieval.query"]])
def test_an_unknown_task_lists_the_known_ones(task: Any) -> None:
    for call in (preparer(**V2).tokenize, lambda texts, task: preparer(**V2).batch([[0, 2]], [task])):
        with pytest.raises(UnknownTask, match=r"unknown task .*; this model knows 'retrieval.query'"):
            call([], task=task)
    with pytest.raises(UnknownTask, match="knows none at all"):
        preparer().tokenize(["a"], task="query")


def test_the_default_task_stands_in_for_none() -> None:
    held = preparer(**V3, default_task="query")
    assert held.tokenize(["a"]).token_ids == held.tokenize(["a"], task="query").token_ids
    assert held.batch([[0, 2]]).adapters.tolist() == [0]
    assert held.tasks == ("query", "passage", "same")


def test_adapters() -> None:
    row = [[0, 10, 2]]
    assert preparer(**V2, always_adapter="retrieval.query").batch(row).adapters.tolist() == [0]
    assert preparer(**V2, always_adapter="retrieval.query").batch(row, "retrieval.query").adapters.tolist() == [0]
    assert preparer(**V3).batch(row).adapters.tolist() == [NO_ADAPTER]
    assert preparer(**V3).batch(row * 2, "same").adapters.tolist() == [2, 2]
    mixed = preparer(**V3).batch(row * 4, ["same", None, "query", "passage"])
    assert mixed.adapters.tolist() == [2, NO_ADAPTER, 0, 1]
    assert mixed.adapters.dtype == np.int64
    assert preparer(instructions={"query": "q: "}).batch(row, "query").adapters.tolist() == [NO_ADAPTER]
    with pytest.raises(ConfigError, match="2 tasks for 1 texts"):
        preparer(**V3).batch(row, ["same", "same"])


def test_batches_are_padded_on_the_right() -> None:
    batch = preparer().batch([[0, 2], [0, 10, 11, 2], [0, 10, 2]])
    assert batch.token_ids.tolist() == [[0, 2, 1, 1], [0, 10, 11, 2], [0, 10, 2, 1]]
    assert batch.token_ids.dtype == np.int64
    assert preparer().batch([]).token_ids.shape == (0, 0)


def test_strip_only_where_configured() -> None:
    """White space inside and around is folded by the tokenizer; what differs is what stands before an instruction."""
    padded = preparer(strip=True, instructions={"q": "q:"}).tokenize(["  a\n"], task="q").token_ids
    assert padded == preparer().tokenize(["q:a"]).token_ids
    kept = preparer(instructions={"q": "q:"}).tokenize(["  a\n"], task="q").token_ids
    assert kept == preparer().tokenize(["q: a"]).token_ids
    assert kept != padded


def test_empty_and_odd_texts_are_texts() -> None:
    found = preparer().tokenize(["", "   ", "\n\t", "\0", "\U0001f600", "é" * 300, np.str_("a")])
    assert found.token_ids[:3] == [[0, 2]] * 3
    assert all(ids[0] == 0 and ids[-1] == 2 for ids in found.token_ids)
    assert found.token_ids[-1] == [0, 10, 2]
    assert preparer().tokenize([]).token_ids == []
    assert preparer().tokenize([]).longest == 0


BAD: dict[str, tuple[Any, str]] = {
    "None": (None, "text 1: expected a str, found NoneType"),
    "int": (3, "text 1: expected a str, found int"),
    "NaN": (float("nan"), "text 1: expected a str, found float"),
    "bytes": (b"abc", r"text 1: expected a str, found bytes; decode bytes first, for instance with .decode\('utf-8'\)"),
    "list": (["a"], "text 1: expected a str, found list"),
    "pair": (("a", "b"), "text 1: expected a str, found tuple"),
    "dict": ({"text": "a"}, "text 1: expected a str, found dict"),
    "array": (np.array(["a"]), "text 1: expected a str, found ndarray"),
    "path": (Path("a.txt"), "text 1: expected a str, found PosixPath"),
    "lone surrogate": ("ab\ud83d", r"text 1: the character at position 2 is a lone surrogate \(U\+D83D\)"),
    "second half alone": ("\ude00", r"text 1: the character at position 0 is a lone surrogate \(U\+DE00\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_texts(what: str) -> None:
    item, message = BAD[what]
    with pytest.raises(TextError, match=message):
        preparer().tokenize(["fine", item, "fine"])
    with pytest.raises(TextError):
        check_text(item)


def test_threads_with_other_limits_do_not_disturb_each_other() -> None:
    held = preparer()
    full = held.tokenize([LONG]).token_ids[0]
    limits = [3 + i % 40 for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda limit: held.tokenize([LONG], max_tokens=limit).token_ids[0], limits))
    assert found == [[*full[: limit - 1], 2] for limit in limits]


def test_the_files_own_truncation_and_padding_are_off(tmp_path: Path) -> None:
    content = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    content["truncation"] = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {"strategy": {"Fixed": 7}, "direction": "Right", "pad_to_multiple_of": None}
    content["padding"] |= {"pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    other = TextPreparer(tmp_path / "tokenizer.json", TextPrepareConfig(max_tokens=512))
    assert other.tokenize([LONG, "a"]).token_ids == preparer().tokenize([LONG, "a"]).token_ids


def test_vocab_size_counts_added_tokens() -> None:
    assert preparer().vocab_size == 1000


def test_folders_without_a_usable_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"no tokenizer file at .*tokenizer.json"):
        TextPreparer(tmp_path / "tokenizer.json", TextPrepareConfig(max_tokens=512))
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")
    with pytest.raises(FolderError, match=r"is not a tokenizer.json"):
        TextPreparer(tmp_path / "tokenizer.json", TextPrepareConfig(max_tokens=512))
    content = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    content["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="expected one special token in front, one behind"):
        TextPreparer(tmp_path / "tokenizer.json", TextPrepareConfig(max_tokens=512))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 2}, "too short"),
        ({"pad_id": 0}, "gives <pad> the id 1, the configuration says 0"),
        ({"default_task": "query"}, "default_task 'query' is not one of"),
        ({"always_adapter": "query"}, "always_adapter 'query' is not one of"),
        ({"adapters": ("a",), "instructions": {"b": ""}}, r"the tasks \['b'\] have no adapter"),
    ],
)
def test_a_configuration_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preparer(**options)
