"""Headers of weights files that lie: about places, sizes, types and names. Each reader gets a sentence."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load

from babelclip.checkpoint.weights import read_header, write_safetensors
from babelclip.errors import WeightsError

Header = dict[str, Any]
BODY = bytes(range(96))
GOOD: Header = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [12], "data_offsets": [24, 48]},
    "c": {"dtype": "I8", "shape": [48], "data_offsets": [48, 96]},
}


def with_(name: str, **changes: object) -> Header:
    return {**GOOD, name: {**GOOD[name], **changes}}


BAD: dict[str, object] = {
    "two tensors in one place": with_("b", data_offsets=[0, 24]),
    "two that overlap": with_("b", data_offsets=[12, 36]),
    "one inside another": with_("b", data_offsets=[60, 84]),
    "a hole": {name: GOOD[name] for name in "ac"},
    "a hole at the start": {name: GOOD[name] for name in "bc"},
    "bytes left over": {name: GOOD[name] for name in "ab"},
    "beyond the end": with_("c", data_offsets=[48, 97], shape=[49]),
    "far beyond the end": with_("c", data_offsets=[2**60, 2**60 + 48]),
    "before the start": with_("a", data_offsets=[-24, 0]),
    "turned round": with_("a", data_offsets=[24, 0]),
    "another size": with_("a", shape=[2, 4]),
    "another type": with_("a", dtype="F64"),
    "a type that there is not": with_("a", dtype="F33"),
    "a type that is none": with_("a", dtype=["F32"]),
    "a negative shape": with_("a", shape=[-2, -3]),
    "a shape of text": with_("a", shape=["2", "3"]),
    "a shape of fractions": with_("a", shape=[2.0, 3.0]),
    "a shape of truth": with_("c", shape=[True, 48]),
    "places of text": with_("a", data_offsets=["0", "24"]),
    "three places": with_("a", data_offsets=[0, 24, 24]),
    "a number for a tensor": {**GOOD, "a": 5},
    "nothing for a tensor": {**GOOD, "a": None},
    "a list": [GOOD],
    "a number": 5,
}


def packed(header: bytes, body: bytes = BODY) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def refused(tmp_path: Path, content: bytes) -> bool:
    (tmp_path / "weights").write_bytes(content)
    with contextlib.suppress(WeightsError):
        read_header(tmp_path / "weights")
        return False
    return True


def test_a_good_one_is_read(tmp_path: Path) -> None:
    assert not refused(tmp_path, packed(json.dumps(GOOD).encode()))
    shuffled = {name: GOOD[name] for name in "cab"}
    assert not refused(tmp_path, packed(json.dumps(shuffled).encode()))
    empty = {**GOOD, "none": {"dtype": "F32", "shape": [0, 4], "data_offsets": [24, 24]}}
    assert not refused(tmp_path, packed(json.dumps(empty).encode()))


@pytest.mark.parametrize("what", BAD)
def test_a_header_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    assert refused(tmp_path, packed(json.dumps(BAD[what]).encode()))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"a": NaN}',
        b"[" * 100_000,
        json.dumps(GOOD)[:-1].encode() + b', "a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}',
        json.dumps(GOOD).replace('"dtype": "F32"', '"dtype": "F32", "dtype": "I8"').encode(),
        json.dumps(GOOD).replace("96]", "9" * 5000 + "]").encode(),
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, header: bytes) -> None:
    assert refused(tmp_path, packed(header))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "whole", {"a": np.ones((3, 4), np.float32), "b": np.ones(5, np.float16)})
    whole = (tmp_path / "whole").read_bytes()
    assert [length for length in range(len(whole)) if not refused(tmp_path, whole[:length])] == []
    assert refused(tmp_path, whole + b"\x00")


def test_what_the_library_refuses_is_refused(tmp_path: Path) -> None:
    """Headers of random tensors at random places, against the reader that everybody uses."""
    chance = random.Random(0)
    disagreed, good = [], 0
    for _ in range(3000):
        header: Header = {}
        position = 0
        for name in "abc"[: chance.randint(1, 3)]:
            count = chance.randint(0, 4)
            start = position if chance.random() < 0.8 else chance.randint(0, 24)
            size = 4 * count if chance.random() < 0.9 else chance.randint(0, 16)
            header[name] = {"dtype": "F32", "shape": [count], "data_offsets": [start, start + size]}
            position = start + size
        content = packed(json.dumps(header).encode(), bytes(position if chance.random() < 0.9 else 30))
        theirs = _refuses(lambda content=content: load(content))
        good += not theirs
        if theirs and not refused(tmp_path, content):
            disagreed.append(header)
    assert disagreed == []
    assert good > 300


def _refuses(read: Callable[[], object]) -> bool:
    try:
        read()
    except (SafetensorError, ValueError, TypeError):
        return True
    return False
