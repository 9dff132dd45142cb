"""Values of JSON are counted before they are made: never too few, and exactly where it matters."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from babelclip.serve.json_structure import JsonStructure

ALPHABET = '",:[]{}\\ abc\n\té中😀'


def made(rng: random.Random, depth: int = 0) -> Any:
    """Any value, strings full of what has a meaning outside of them."""
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind < 3:
        return "".join(rng.choices(ALPHABET, k=rng.randrange(12)))
    if kind == 3:
        return rng.choice([None, True, 0, -1.5e3, 123456789])
    if kind < 6:
        return [made(rng, depth + 1) for _ in range(rng.randrange(6))]
    return {"".join(rng.choices(ALPHABET, k=3)): made(rng, depth + 1) for _ in range(rng.randrange(4))}


def marks(value: Any) -> int:
    """Commas, colons and opening brackets that this value is written with."""
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(marks, value))
    if isinstance(value, dict):
        return 1 + max(len(value) - 1, 0) + len(value) + sum(map(marks, value.values()))
    return 0


def counted(content: bytes, max_values: int, cuts: list[int]) -> int:
    structure = JsonStructure(max_values)
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        structure.add(content[start:end])
        while structure.is_behind:
            structure.count_on()
    return structure.values


@pytest.mark.parametrize("seed", range(40))
def test_strings_are_left_out_however_the_pieces_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    value = [made(rng) for _ in range(8)]
    content = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
    there_are = marks(value)
    for pieces in (1, 2, 7, len(content)):
        cuts = sorted(rng.randrange(len(content) + 1) for _ in range(pieces - 1))
        roughly = counted(content, 10**9, cuts)
        assert roughly == sum(content.count(mark) for mark in b",[{:")
        found = counted(content, there_are, cuts)
        assert found == there_are, content  # not one too many for who may have exactly so many
        if there_are:
            assert counted(content, there_are - 1, cuts) > there_are - 1
