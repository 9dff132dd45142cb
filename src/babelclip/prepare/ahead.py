"""Preparing ahead in threads, in order, with a bounded number of items in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Source = TypeVar("Source")
Prepared = TypeVar("Prepared")


def prepare_ahead(
    prepare: Callable[[Source], Prepared], sources: Iterable[Source], *, workers: int, ahead: int
) -> Iterator[Prepared | Exception]:
    """``prepare`` of every source, in order, or the exception that it raised.

    At most ``ahead`` sources are taken and not handed on yet, however many there are. While the caller works on one,
    ``workers`` threads prepare the next. ``sources`` itself is read in the caller's thread.
    """
    waiting: deque[Future[Prepared]] = deque()
    source = iter(sources)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="babelclip-prepare")
    try:
        waiting.extend(pool.submit(prepare, item) for item in islice(source, ahead))
        while waiting:
            future = waiting.popleft()
            error = future.exception()  # waits
            if error is not None and not isinstance(error, Exception):
                raise error
            result: Prepared | Exception = future.result() if error is None else error
            del future
            waiting.extend(pool.submit(prepare, item) for item in islice(source, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def windows(texts: Iterable[object], max_texts: int, max_characters: int) -> Iterator[list[object]]:
    """Pieces of at most ``max_texts`` texts, or fewer where they are long: enough to sort, little enough to hold."""
    window: list[object] = []
    characters = 0
    for text in texts:
        window.append(text)
        characters += len(text) if isinstance(text, str) else 0
        if len(window) >= max_texts or characters >= max_characters:
            yield window
            window, characters = [], 0
    if window:
        yield window
