"""Memory that a large request took goes back to the system once it has ended.

The C library keeps what was freed for the next allocation, in pieces between others that are in use, so that a process
stays as large as its worst minute. Asked to, it gives back every page that holds nothing. That takes milliseconds, so
it is done a moment after the last large request, in a thread of its own, and not for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable

LARGE_BYTES = 2**20
"""Of a request, from which on what it took is worth giving back."""
LARGE_BLOCK = 4 * 2**20
"""Bytes of one allocation, from which on it has pages of its own: pictures are made of blocks of 16 MiB."""
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds without a further large request; with some, so long after the first."""


def large_blocks_go_back() -> None:
    """From now on a large block of this process goes back to the system the moment it is freed.

    glibc raises the size from which that holds, up to 32 MiB, once such blocks were freed, and then keeps them for
    each thread apart: four threads that decode one after the other held four pictures.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # as for ``_trimmer``
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE_BLOCK)


class FreedMemory:
    """Gives back freed memory some time after it was told to."""

    def __init__(self, also: Callable[[], None] = lambda: None) -> None:
        """Nothing is given back before the first ``soon``.

        Args:
            also: called before, in the thread: whatever else keeps memory for the next time.
        """
        self._also, self._trim = also, _trimmer()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        """Give back what is free in a moment; any number of calls until then are one."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="freed-memory", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            until = time.monotonic() + LONGEST_PAUSE
            while self._wanted.is_set() and time.monotonic() < until:
                self._wanted.clear()
                time.sleep(PAUSE)
            self._wanted.clear()
            self._also()
            self._trim()


def _trimmer() -> Callable[[], object]:
    """glibc's; other C libraries (musl, macOS) give back by themselves, and have no such call."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library without a name
        return lambda: None
    return lambda: trim(0)
