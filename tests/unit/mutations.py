"""Files that somebody has damaged or made to do harm, out of good ones: by bytes, by values of JSON, by lines."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        2**70,
        1e308,
        "",
        "x",
        "../../etc/passwd",
        "/etc/passwd",
        "a\nb\x1b[31m",
        "\ud800",
        "9" * 5000,
    ),
    *([], {}, [None], [[[[]]]], ["x", 1, {}], {"a": {"b": []}}, {"": None}),
)
"""In the place of any value: other types, hostile sizes and names."""
TEXTS: tuple[bytes, ...] = (
    *(
        b"",
        b"\0",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"a": ',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"NaN",
        b"9" * 5000,
    ),
    *(b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x1f\x8b\x08\x00garbage", b"a = [[[[", b"PK\x03\x04", b"\x93NUMPY\x01\x00"),
)
"""In the place of a whole file."""


def of_bytes(good: bytes, *, seed: int = 0, count: int = 60) -> Iterator[bytes]:
    """Bits turned, ends cut off, ranges zeroed, doubled, put in or made large; most of it near the start."""
    rng = random.Random(seed)
    yield from TEXTS
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        yield good[: int(len(good) * share)]
    for _ in range(count):
        at = min(int(rng.expovariate(4 / max(1, len(good)))), max(0, len(good) - 1))
        length = rng.choice((1, 2, 4, 8, 64, 512))
        middle = good[at : at + length]
        changed = rng.choice(
            (
                bytes(byte ^ (1 << rng.randrange(8)) for byte in middle[:1]) + middle[1:],
                bytes(len(middle)),
                b"\xff" * len(middle),
                middle + middle,
                b"",
                rng.randbytes(len(middle)),
            )
        )
        yield good[:at] + changed + good[at + length :]


def of_json(good: Any, *, values: tuple[Any, ...] = VALUES, most: int = 400) -> Iterator[Any]:
    """Every place of a value with every other value, and without it; a sample where these are many."""
    everything = [(place, value) for place in _places(good) for value in (*values, _ABSENT)]
    rng = random.Random(len(everything))
    for place, value in everything if len(everything) <= most else rng.sample(everything, most):
        yield _changed(good, place, value)


def as_json(value: Any) -> bytes:
    """As a file; half a character stays one, as an escape."""
    return json.dumps(value).encode()


def of_lines(good: str) -> Iterator[bytes]:
    """A file of lines such as TOML: each line lost, doubled or cut, each value of another kind."""
    lines = good.splitlines(keepends=True)
    for number, line in enumerate(lines):
        before, after = "".join(lines[:number]), "".join(lines[number + 1 :])
        for other in ("", line + line, line[: len(line) // 2] + "\n"):
            yield (before + other + after).encode()
        if (found := re.match(r"\s*[\w.-]+\s*=\s*", line)) is not None:
            for value in (
                "-1",
                "1e400",
                "nan",
                '"x"',
                '"../../x"',
                "[]",
                "{}",
                "true",
                "[[1]]",
                "9" * 400,
                "1979-05-27",
            ):
                yield (before + found.group() + value + "\n" + after).encode()


_ABSENT = object()


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        yield from _places(part, (*place, name))


def _changed(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return None if other is _ABSENT else other
    result = copy.deepcopy(value)
    inner = result
    for name in place[:-1]:
        inner = inner[name]
    if other is _ABSENT:
        del inner[place[-1]]
    else:
        inner[place[-1]] = other
    return result
