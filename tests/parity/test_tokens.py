"""Token ids are the reference's, in all scripts (docs/reference/published-model.md#tokenizer)."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.text import TextPreparer

FIXTURES = Path(__file__).parents[1] / "fixtures"
QUERY = "Represent the query for retrieving evidence documents: "


@pytest.fixture(scope="module")
def goldens() -> dict[str, Any]:
    return json.loads((FIXTURES / "tokenizer" / "tokenizer_goldens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["as_rebuilt", "with_77_inside"])
def preparer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextPreparer:
    """The whole XLM-RoBERTa tokenizer; the published file carries truncation and padding to 77 as well."""
    content = json.loads(lzma.decompress((FIXTURES / "tokenizer" / "tokenizer.json.xz").read_bytes()))
    if request.param == "with_77_inside":
        content["truncation"] = {"direction": "Right", "max_length": 77, "strategy": "LongestFirst", "stride": 0}
        content["padding"] = {
            "strategy": {"Fixed": 77},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 1,
            "pad_type_id": 0,
            "pad_token": "<pad>",
        }
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return TextPreparer(file, TextPrepareConfig(max_tokens=8192, instructions={"retrieval.query": QUERY}))


def test_all_goldens_have_identical_ids(preparer: TextPreparer, goldens: dict[str, Any]) -> None:
    items = goldens["items"]
    assert len(items) == 145
    found = preparer.tokenize([item["text"] for item in items])
    different = [i["text"] for i, ids in zip(items, found.token_ids, strict=True) if ids != i["ids"]]
    assert different == []
    assert found.num_cut == 0
    assert found.longest == max(len(item["ids"]) for item in items)


def test_one_by_one_gives_the_same_ids_as_together(preparer: TextPreparer, goldens: dict[str, Any]) -> None:
    for item in goldens["items"][::10]:
        assert preparer.tokenize([item["text"]]).token_ids == [item["ids"]]


@pytest.mark.parametrize("limit", [4, 8, 77, 512, 8192])
def test_cut_and_padded_as_the_reference(preparer: TextPreparer, goldens: dict[str, Any], limit: int) -> None:
    expected = goldens["truncated"][str(limit)]
    found = preparer.tokenize([item["text"] for item in goldens["items"]], max_tokens=limit)
    assert [len(ids) for ids in found.token_ids] == expected["lengths"]
    batch = preparer.batch(found.token_ids)
    assert batch.token_ids.shape == (145, expected["width"])
    assert found.num_cut == sum(len(item["ids"]) > limit for item in goldens["items"])
    assert found.num_dropped == sum(max(0, len(item["ids"]) - limit) for item in goldens["items"])
    for row, item in zip(batch.token_ids.tolist(), goldens["items"], strict=True):
        kept = item["ids"] if len(item["ids"]) <= limit else [*item["ids"][: limit - 1], 2]
        assert row == kept + [1] * (expected["width"] - len(kept))
    if "input_ids" in expected:
        assert batch.token_ids.tolist() == [ids + [1] * (expected["width"] - len(ids)) for ids in expected["input_ids"]]


def test_the_vendors_query_has_twenty_tokens(preparer: TextPreparer) -> None:
    """The makers bill 20 tokens for this text with this task (docs/reference/http.md#prices)."""
    ids = preparer.tokenize(["How is the weather today?"], task="retrieval.query").token_ids[0]
    assert len(ids) == 20
    assert ids == preparer.tokenize([QUERY + "How is the weather today?"]).token_ids[0]


def test_special_tokens_written_out_become_their_ids(preparer: TextPreparer) -> None:
    found = preparer.tokenize(["a <pad> b", "<pad>", "x </s> y", "one <mask>"]).token_ids
    assert found[0] == [0, 10, 1, 876, 2]
    assert found[1] == [0, 1, 2]
    assert found[2][2:3] == [2]
    assert found[2][-1] == 2
    assert 250001 in found[3]
    # In a batch a literal <pad> cannot be told from padding: both are masked, as in the reference.
    assert preparer.batch(found[:2]).token_ids.tolist() == [[0, 10, 1, 876, 2], [0, 1, 2, 1, 1]]


@pytest.mark.parametrize("folder", ["v2_a", "v2_b"])
def test_small_models_ids_before_any_cut(folder: str) -> None:
    recorded = json.loads((FIXTURES / "goldens" / folder / "end_to_end.json").read_text(encoding="utf-8"))
    preparer = TextPreparer(FIXTURES / "goldens" / folder / "tokenizer.json", TextPrepareConfig(max_tokens=8192))
    assert preparer.tokenize(recorded["texts"]).token_ids == recorded["token_ids_default"]
