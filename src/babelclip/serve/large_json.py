"""A large body becomes objects in steps, between which others are answered, and is let go of while it does.

A parser that takes a body whole holds it beside all that it makes, up to four bytes for one, and nobody is answered
meanwhile. So strings of some length are taken out first, from the last to the first: each is made by itself, and its
bytes are let go before the next. What is left is small, and is parsed with a mark in place of each.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import orjson

LONG_STRING = 512
"""Bytes of a string that is made by itself."""
STEP = 2**18
"""Bytes after which others have a turn."""
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_UNITS = re.compile(rb"(?:[^\\]++|\\u[dD][89abAB]..\\u....|\\u(?![dD][89abAB])....|\\[^u])*+", re.DOTALL)
_IS_NAME = re.compile(rb"[ \t\r\n]*+:")
_BEYOND_ASCII = re.compile(rb"\\u(?!00[0-7])")
_CONTINUED = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that begin no character
_QUOTE = ord('"')


async def parse_large_json(body: bytearray, max_characters: int) -> Any:
    """What a body says; it is empty after this.

    Args:
        body: JSON.
        max_characters: of a text that are read; of one that is longer, and no ASCII as base64 is, at least one more is
            kept, and not all.

    Raises:
        JSONDecodeError: it is no JSON.
    """
    spans: list[tuple[int, int]] = []
    for span in _long_strings(body):
        if span is None:
            await asyncio.sleep(0)
        else:
            spans.append(span)
    mark, strings, pieces, made = secrets.token_hex(8), list[str](), list[bytes](), 0
    for number, (start, end) in enumerate(reversed(spans)):
        pieces += [bytes(memoryview(body)[end:]), f'"{mark}{number}"'.encode()]
        raw = bytes(memoryview(body)[start:end])
        del body[start:]
        strings.append(_string(raw, max_characters, start))
        made += len(raw)
        if made > STEP:
            made = 0
            await asyncio.sleep(0)
    pieces.append(bytes(body))
    body.clear()
    rest = b"".join(reversed(pieces))
    pieces.clear()
    try:
        value = orjson.loads(rest)
    except orjson.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, "", _position_before(error.pos, spans, mark)) from None
    return _with_strings(value, mark, strings)


def _long_strings(body: bytearray) -> Iterator[tuple[int, int] | None]:
    """Where long strings are that are no names of fields; None where others should have a turn."""
    position, rested = 0, 0
    while (start := body.find(b'"', position)) >= 0:
        position = start + 1
        while position < len(body) and body[position] != _QUOTE:
            found = _INSIDE.match(body, position, min(position + STEP, len(body)))
            if found is None or found.end() == position:
                return  # a backslash at the end of all: the parser will say so
            position = found.end()
            if position - rested > STEP:
                rested = position
                yield None
        position += 1
        if position - start > LONG_STRING and position <= len(body) and not _IS_NAME.match(body, position):
            yield start, position


def _string(raw: bytes, max_characters: int, start: int) -> str:
    """A string of its JSON, quotes included."""
    if len(raw) > 4 * max_characters and not (raw.isascii() and _BEYOND_ASCII.search(raw) is None):
        raw = _beginning(raw, max_characters)
    try:
        found: str = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, "", start + error.pos) from None
    return found


def _beginning(raw: bytes, max_characters: int) -> bytes:
    """More than so many characters of a string, where it has more."""
    size = 4 * (max_characters + 4)
    while size < len(raw):
        marks = raw.count(b"\\", 0, size) + 5.5 * raw.count(b"\\u", 0, size)  # twelve bytes at most for a character
        if len(raw[:size].translate(None, _CONTINUED)) - marks > max_characters + 16:
            units = _UNITS.match(raw, 0, size)
            end = size if units is None else units.end()
            while 0x80 <= raw[end - 1] < 0xC0:
                end -= 1
            return raw[: end - (raw[end - 1] >= 0xC0)] + b'"'  # not the half of a character at the end
        size *= 2
    return raw


def _position_before(position: int, spans: list[tuple[int, int]], mark: str) -> int:
    """Where a byte of what is left was, while the strings were there."""
    left_out = 0
    for number, (start, end) in enumerate(spans):
        if position < start - left_out:
            break
        left_out += end - start - len(f'"{mark}{len(spans) - 1 - number}"')
    return position + left_out


def _with_strings(value: Any, mark: str, strings: list[str]) -> Any:
    """The value with its strings in place of their marks."""

    def is_mark(found: object) -> bool:
        return isinstance(found, str) and found.startswith(mark)

    def string(found: str) -> str:
        return strings[int(found.removeprefix(mark))]

    if is_mark(value):
        return string(value)
    containers = [value]
    while strings and containers:
        container = containers.pop()
        if not isinstance(container, dict | list):
            continue
        for key, each in container.items() if isinstance(container, dict) else enumerate(container):
            if is_mark(each):
                container[key] = string(each)  # a key that there is: nothing moves
            elif isinstance(each, dict | list):
                containers.append(each)
    return value
