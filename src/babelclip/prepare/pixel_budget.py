"""How many pixels are decoded at once; who comes when they are taken waits, in the order of coming.

What an image takes is known from its header, and threads know nothing of each other: four of 50 megapixels at once take
as much as one of 200. A file of its own because it is the one place where images wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

BYTES_PER_PIXEL = 20
"""Of an image being decoded, in the format and mode that takes most (WebP with transparency): what its decoder holds,
itself, what its colors are turned into, and the rows that are made smaller."""


class PixelBudget:
    """Pixels that are taken and given back, by any thread."""

    def __init__(self, total: int, spare: int = 0) -> None:
        """All are free.

        Args:
            total: at once.
            spare: of these, kept for small images while a large one is decoded; an image that has more than the rest
                takes the rest.
        """
        self.total, self.spare = total, spare
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for an image, which it has inside."""
        me, needed = object(), min(pixels, self.total - self.spare)
        with self._changed:
            self._waiting.append(me)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is me and self._taken + needed <= self.total)
                self._taken += needed
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= needed
                self._changed.notify_all()


DECODING = PixelBudget(100_000_000, spare=25_000_000)
"""Of this process. A photo of 108 megapixels takes 430 MB and one of a gigapixel 4 GB, so two of those never come
together. A server, whose images have a limit, gives all of a smaller total."""
