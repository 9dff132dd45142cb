"""A large body in steps is what a parser makes of it at once, and is let go of while it is read."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from typing import Any

import pytest

from babelclip.serve import large_json
from babelclip.serve.large_json import LONG_STRING, parse_large_json

ALPHABET = '",:[]{}\\ abc\n\té中😀'


def made(rng: random.Random, depth: int = 0) -> Any:
    """Any value, strings of both kinds of length full of what has a meaning outside of them."""
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind < 3:
        return "".join(rng.choices(ALPHABET, k=rng.choice((0, 5, LONG_STRING, 2 * LONG_STRING))))
    if kind == 3:
        return rng.choice([None, True, 0, -1.5e3, 123456789])
    if kind < 6:
        return [made(rng, depth + 1) for _ in range(rng.randrange(6))]
    return {
        "".join(rng.choices(ALPHABET, k=rng.choice((3, 600)))): made(rng, depth + 1) for _ in range(rng.randrange(4))
    }


def parsed(content: bytes, max_characters: int = 10**6) -> Any:
    body = bytearray(content)
    value = asyncio.run(parse_large_json(body, max_characters))
    assert not body
    return value


@pytest.mark.parametrize("seed", range(40))
def test_it_is_what_a_parser_makes_of_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(large_json, "STEP", rng.choice((2, 7, 100, 2**18)))
    value = [made(rng) for _ in range(8)] if seed else "x" * 1000
    assert parsed(json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1))).encode()) == value


@pytest.mark.parametrize("unit", ["a", "é", "中", "😀", "\\u00e9", "\\ud83d\\ude00", "\\n", "a\\ud83d\\ude00", "\\/"])
@pytest.mark.parametrize("shift", range(13))
def test_of_a_text_without_an_end_more_is_kept_than_is_read(unit: str, shift: int) -> None:
    limit = 5_000
    written = "x" * shift + unit * (100_000 // len(unit.encode())) + "\\u4e2d"
    whole = json.loads(f'"{written}"')
    found = parsed(f'{{"x":["{written}"]}}'.encode(), limit)["x"][0]
    assert whole.startswith(found)
    assert len(found) > limit
    assert len(found) < 4 * limit + 100 or len(whole) < 12 * limit


def test_base64_is_never_cut() -> None:
    image = "QUJD+/" * 20_000
    assert parsed(json.dumps([image]).replace("+", "\\u002B").replace("/", "\\/").encode(), 1000) == [image]


@pytest.mark.parametrize(
    "content",
    [
        b'["' + b"a" * 2000,
        b'["' + b"\\" * 2001,
        b'["' + b"a" * 2000 + b'\\x"]',
        b'["' + b"a" * 2000 + b'"',
        b'["\xff' + b"a" * 999 + b'"]',
    ],
)
def test_what_is_no_json_is_told(content: bytes) -> None:
    with pytest.raises(json.JSONDecodeError) as told:
        parsed(content)
    assert 0 <= told.value.pos <= len(content) + 1


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000 + "😀", "a" * 10_000 + "😀", "a" * 600 + "😀", "中" * 9_000, "a" * 9_000]
)
def test_memory_is_four_bytes_for_one(text: str) -> None:
    """As much as the strings themselves take at most, whatever the body was."""
    content = json.dumps([text] * (8_000_000 // len(text.encode())), ensure_ascii=False).encode()
    tracemalloc.start()
    try:
        body = bytearray(content)
        asyncio.run(parse_large_json(body, 10**6))
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 4 * len(content) + 16_000_000, f"{taken / len(content):.2f}"  # beside it what one string takes


def test_others_have_a_turn() -> None:
    """Nothing is done for long at once; the steps are counted, as times would tell about the machine."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def both() -> None:
        other = asyncio.create_task(others())
        await parse_large_json(bytearray(json.dumps(["a" * 5000] * 2000).encode()), 10**6)
        other.cancel()

    asyncio.run(both())
    assert turns > 2 * 10_000_000 / large_json.STEP - 10
