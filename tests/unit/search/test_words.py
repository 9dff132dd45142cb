"""What people type: queries with signs and weights, conditions, and texts cut into pieces."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from babelclip.encoder import Encoder
from babelclip.errors import ConfigError
from babelclip.search.filters import And, Eq, Filter, In, Not, Prefix, Range
from babelclip.search.open_store import default_url, index_url
from babelclip.search.parse_filters import parse_where
from babelclip.search.query import Query, QueryPart, query_vector
from babelclip.search.read_file import PIECE, pieces

CAT = QueryPart(Path("./cat.jpg"), "image")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["dog"], [QueryPart("dog", "text")]),
        (["a", "dog", "on", "the", "beach"], [QueryPart("a dog on the beach", "text")]),
        (["a dog"], [QueryPart("a dog", "text")]),
        (
            ["./cat.jpg", "+", "at night", "-", "people"],
            [CAT, QueryPart("at night", "text"), QueryPart("people", "text", -1.0)],
        ),
        (
            ["2:golden", "retriever", "+", "snow"],
            [QueryPart("golden retriever", "text", 2.0), QueryPart("snow", "text")],
        ),
        (["0.5:./cat.jpg", "red"], [QueryPart(Path("./cat.jpg"), "image", 0.5), QueryPart("red", "text")]),
        (["-", "people", "+", "sea"], [QueryPart("people", "text", -1.0), QueryPart("sea", "text")]),
        (["at", "12:30"], [QueryPart("at 12:30", "text")]),
        (["twenty-one"], [QueryPart("twenty-one", "text")]),
        (["c++"], [QueryPart("c++", "text")]),
    ],
)
def test_queries(words: list[str], parts: list[QueryPart]) -> None:
    assert list(Query.parse(words).parts) == parts


@pytest.mark.parametrize("words", [[], ["+"], ["dog", "-"], ["dog", "+", "-", "cat"]])
def test_queries_with_nothing_in_a_place(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        Query.parse(words)


def test_parts_are_added_by_their_weights(encoder: Encoder) -> None:
    snow, dog = encoder.encode_text(["snow", "dog"])
    both = query_vector(encoder, Query((QueryPart("snow", "text", 2.0), QueryPart("dog", "text", -1.0))))
    expected = 2 * snow - dog
    assert both == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    with pytest.raises(ConfigError, match="cancel"):
        query_vector(encoder, Query((QueryPart("snow", "text"), QueryPart("snow", "text", -1.0))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera=Pixel 8", Eq("camera", "Pixel 8")),
        ("camera = A|B", In("camera", ("A", "B"))),
        ("camera!=A", Not(Eq("camera", "A"))),
        ("width>=1000", Range("width", low=1000)),
        ("latitude<-3.5", Range("latitude", high=-3.5)),
        ("path^=/photos/2024=x", Prefix("path", "/photos/2024=x")),
        ('name="2024"', Eq("name", "2024")),
        ("name=2024", Eq("name", "2024")),
        ("mine=", Eq("mine", "")),
    ],
)
def test_conditions(text: str, expected: Filter) -> None:
    assert parse_where([text]) == expected


def test_conditions_together() -> None:
    assert parse_where([]) is None
    assert parse_where(["a=1", "b<2"]) == And((Eq("a", 1), Range("b", high=2)))


@pytest.mark.parametrize("text", ["camera", "=5", "1x=5", "a>5", "a b=3"])
def test_what_is_no_condition_shows_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match="field=value"):
        parse_where([text])


def test_pieces_hold_all_words_and_are_short() -> None:
    text = "word " * 3000 + "\n\n" + "句子很长。" * 900 + "\n\nshort\n\nshorter"
    found = pieces(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert max(map(len, found)) <= PIECE + 1
    assert len(found) < 30
    assert pieces("one\n\ntwo") == ["one\ntwo"]


def test_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert index_url("qdrant:somewhere") == "qdrant:somewhere"
    assert index_url(str(tmp_path / "a.db")) == f"sqlite:{tmp_path / 'a.db'}"
    monkeypatch.delenv("BABELCLIP_INDEX", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_url() == f"sqlite:{tmp_path / 'babelclip' / 'index.db'}"
    monkeypatch.setenv("BABELCLIP_DATA", str(tmp_path))  # its former name must not lead to another index in silence
    with pytest.raises(ConfigError, match=f"BABELCLIP_INDEX={tmp_path / 'index.db'} .* BABELCLIP_DATASETS={tmp_path} "):
        default_url()
    monkeypatch.setenv("BABELCLIP_INDEX", "lance:/x")
    assert default_url() == "lance:/x"
