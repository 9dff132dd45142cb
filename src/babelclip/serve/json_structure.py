"""How many values a JSON text has, counted while it comes in and before one of them becomes an object.

A byte of JSON can become 27 bytes of Python: ``[],`` is a list. What a body may cost is bounded by its bytes and by its
values together, so both are counted. A few counts of single bytes tell at most how many values there can be, and that
is all that an ordinary body needs. Where it would be too many, strings are left out: commas in a text are no values.
"""

from __future__ import annotations

import re

_MARKS = (b",", b"[", b"{", b":")
"""Each value and each name of a field has one of these beside it; the first value of all has none."""
_STRING_END = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STRING_PART = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


COUNTED_AT_ONCE = 2**18
"""Bytes that are counted exactly at once."""


class JsonStructure:
    """Holds one body while it comes in, and counts it."""

    def __init__(self, max_values: int) -> None:
        """Nothing has come yet.

        Args:
            max_values: up to which a rough count from above will do.
        """
        self.body = bytearray()  # grows where it lies: pieces that are joined in the end take their bytes twice
        self._max_values = max_values
        self._exact: int | None = None  # bytes that are counted exactly; None: a rough count has done so far
        self._in_string = self._is_escaped = False
        self._strings = 0
        self.values = 0  # once nothing is behind: as many as there are or more; exact where over ``max_values``

    def add(self, piece: bytes) -> None:
        """A further piece has come; it is counted once ``is_behind`` says no more."""
        self.body += piece
        if self._exact is None:
            self.values += _marks(piece)
            if self.values > self._max_values:
                self._exact = self.values = 0

    @property
    def is_behind(self) -> bool:
        """Whether ``count_on`` has something to do."""
        return self._exact is not None and self._exact < len(self.body) and self.values <= self._max_values

    def count_on(self) -> None:
        """Count a little of what is not counted yet."""
        if self._exact is not None:
            self._add_exactly(bytes(memoryview(self.body)[self._exact : self._exact + COUNTED_AT_ONCE]))
            self._exact += (
                COUNTED_AT_ONCE if self._exact + COUNTED_AT_ONCE < len(self.body) else len(self.body) - self._exact
            )

    def _add_exactly(self, piece: bytes) -> None:
        position, end = 0, len(piece)
        if self._is_escaped and end:
            position, self._is_escaped = 1, False
        while position < end and self.values <= self._max_values:
            if self._strings > self.values + 1:
                return  # two strings with nothing between them are no JSON: the parser will stop at the second
            if self._in_string:
                position = self._leave_string(piece, position)
                continue
            start = piece.find(b'"', position)
            outside = piece[position : end if start < 0 else start]
            self.values += _marks(outside)
            position, self._in_string = (end, False) if start < 0 else (start + 1, True)

    def _leave_string(self, piece: bytes, position: int) -> int:
        """Where the string ends in which ``position`` is; the end of the piece where it goes on after that."""
        if (found := _STRING_END.match(piece, position)) is not None:
            self._in_string = False
            self._strings += 1
            return found.end()
        part = _STRING_PART.match(piece, position)
        self._is_escaped = part is not None and part.end() < len(piece)  # a lone backslash is left
        return len(piece)


def _marks(piece: bytes) -> int:
    return sum(piece.count(mark) for mark in _MARKS)
