"""Tables to dataclasses and back: everything that fits goes through, everything else is named with its place."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from babelclip.decode import decode, encode
from babelclip.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    kind: Literal["linear"] = "linear"
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Trunk:
    width: int
    kind: Literal["trunk", "old trunk"] = "trunk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    width: int
    dims: tuple[int, ...] = (8, 16)

    def __post_init__(self) -> None:
        if self.width % 2:
            raise ConfigError(f"width {self.width} is odd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    name: str
    count: int
    share: float
    on: bool
    mode: Literal["drop", "white", 3]
    betas: tuple[float, float]
    sizes: Sizes
    patches: Linear | Trunk
    layers: tuple[Sizes, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Linear | Trunk] = field(default_factory=dict)
    limit: int | None = None
    device: int | str = "cpu"
    rates: float | tuple[float, ...] = 1.0
    other: Sizes | None = None
    head: Linear | Trunk | None = None
    folder: Path = Path()


TABLE: Mapping[str, Any] = {
    "name": "small",
    "count": 3,
    "share": 1,
    "on": True,
    "mode": "drop",
    "betas": [0.9, 0.98],
    "sizes": {"width": 4, "dims": [1, 2, 4]},
    "patches": {"kind": "old trunk", "width": 7},
    "layers": [{"width": 2}, {"width": 6, "dims": []}],
    "prefixes": {"query": "Represent: "},
    "parts": {"first": {"kind": "linear", "size": 1}},
    "limit": None,
    "device": 0,
    "rates": [1, 0.5],
    "other": {"width": 8},
    "head": None,
    "folder": "runs/small",
}


def test_a_table_becomes_what_it_says() -> None:
    found = decode(Everything, TABLE, "recipe")
    assert found == Everything(
        name="small",
        count=3,
        share=1.0,
        on=True,
        mode="drop",
        betas=(0.9, 0.98),
        sizes=Sizes(width=4, dims=(1, 2, 4)),
        patches=Trunk(kind="old trunk", width=7),
        layers=(Sizes(width=2), Sizes(width=6, dims=())),
        prefixes={"query": "Represent: "},
        parts={"first": Linear(size=1)},
        device=0,
        rates=(1.0, 0.5),
        other=Sizes(width=8),
        folder=Path("runs/small"),
    )
    assert isinstance(found.share, float)
    assert isinstance(found.rates, tuple)
    assert isinstance(found.rates[0], float)


def test_what_is_encoded_is_plain_and_reads_back() -> None:
    found = decode(Everything, TABLE, "recipe")
    plain = json.loads(json.dumps(encode(found)))
    assert plain == encode(found)
    assert decode(Everything, plain, "again", require_all=True) == found
    assert list(plain["patches"]) == ["width", "kind"]  # in the order of declaration


def test_toml_reads_as_json_does() -> None:
    text = "width = 4\ndims = [1, 2]\n"
    assert decode(Sizes, tomllib.loads(text), "sizes.toml") == Sizes(width=4, dims=(1, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nome": 1}, r"^recipe: unknown nome; known here: name, count, share, "),
        ({"name": None}, r"^recipe: name: expected a text, found None$"),
        ({"count": 3.0}, r"^recipe: count: expected a whole number, found 3\.0$"),
        ({"count": True}, r"^recipe: count: expected a whole number, found True$"),
        ({"count": "3"}, r"^recipe: count: expected a whole number, found '3'$"),
        ({"share": False}, r"^recipe: share: expected a number, found False$"),
        ({"share": "0.5"}, r"^recipe: share: expected a number, found '0\.5'$"),
        ({"on": 1}, r"^recipe: on: expected true or false, found 1$"),
        ({"mode": "black"}, r"^recipe: mode: expected one of 'drop', 'white', 3, found 'black'$"),
        ({"mode": 3.0}, r"^recipe: mode: expected one of .*, found 3\.0$"),
        ({"mode": ["drop"]}, r"^recipe: mode: expected one of .*, found \['drop'\]$"),
        ({"betas": [0.9]}, r"^recipe: betas: expected a list of 2, found \[0\.9\]$"),
        ({"betas": [0.9, "b"]}, r"^recipe: betas\[1\]: expected a number, found 'b'$"),
        ({"betas": 0.9}, r"^recipe: betas: expected a list, found 0\.9$"),
        ({"sizes": [4]}, r"^recipe: sizes: expected a table, found \[4\]$"),
        ({"sizes": {"dims": [4]}}, r"^recipe: sizes: missing width; found here: dims$"),
        ({"sizes": {}}, r"^recipe: sizes: missing width; found here: nothing$"),
        ({"sizes": {"width": 3}}, r"^recipe: sizes: width 3 is odd$"),
        (
            {"layers": [{"width": 2}, {"width": "x"}]},
            r"^recipe: layers\[1\]: width: expected a whole number, found 'x'$",
        ),
        (
            {"patches": {"width": 7}},
            r"^recipe: patches: expected a table with kind = 'linear' or 'trunk' or 'old trunk', found",
        ),
        ({"patches": {"kind": ["trunk"], "width": 7}}, r"^recipe: patches: expected a table with kind = "),
        ({"patches": 7}, r"^recipe: patches: expected a table with kind = .*, found 7$"),
        ({"patches": {"kind": "linear", "width": 7}}, r"^recipe: patches: unknown width; known here: kind, size$"),
        ({"prefixes": {"query": 1}}, r"^recipe: prefixes: query: expected a text, found 1$"),
        ({"prefixes": ["query"]}, r"^recipe: prefixes: expected a table, found \['query'\]$"),
        ({"parts": {"a": {"kind": "b"}}}, r"^recipe: parts: a: expected a table with kind = "),
        ({"limit": "none"}, r"^recipe: limit: expected a whole number, found 'none'$"),
        ({"device": 0.5}, r"^recipe: device: expected a whole number or a text, found 0\.5$"),
        ({"rates": "fast"}, r"^recipe: rates: expected a number or a list, found 'fast'$"),
        ({"other": 3}, r"^recipe: other: expected a table, found 3$"),
        ({"head": {"kind": "tail"}}, r"^recipe: head: expected a table with kind = "),
        ({"folder": 3}, r"^recipe: folder: expected a path, found 3$"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(Everything, {**TABLE, **change}, "recipe")


@pytest.mark.parametrize("table", [None, [], "name", 3])
def test_what_is_no_table_is_told(table: Any) -> None:
    with pytest.raises(ConfigError, match=r"^recipe: expected a table, found "):
        decode(Everything, table, "recipe")


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("layers", "prefixes", "parts")])
def test_all_may_be_required(name: str) -> None:
    """At every depth: the layers' own defaults are missing too."""
    whole = encode(decode(Everything, TABLE, "recipe"))
    rest = {key: value for key, value in whole.items() if key != name}
    with pytest.raises(ConfigError, match=rf"^config\.json: missing {name}; found here: "):
        decode(Everything, rest, "config.json", require_all=True)
    with pytest.raises(ConfigError, match=r"^config\.json: layers\[0\]: missing dims; found here: width$"):
        decode(Everything, {**whole, "layers": [{"width": 2}]}, "config.json", require_all=True)


def test_what_json_has_no_form_for_is_not_written() -> None:
    with pytest.raises(TypeError, match="has no form in JSON"):
        encode(Sizes(width=4, dims=(object(),)))  # type: ignore[arg-type]
