"""Notice changes in folders by looking at them again: the same everywhere, network drives included."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
"""Seconds between looks; a look that took long is followed by a pause ten times as long."""


def changes(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """The folders in which something has changed, whenever something has; for ever.

    A change is given when two looks agree, so that a file that is still being written waits until it is whole.
    """
    seen = {folder: _state(folder) for folder in folders}
    unsettled: dict[Path, int] = {}
    pause = FIRST_PAUSE
    while True:
        time.sleep(pause)
        start = time.monotonic()
        ready = []
        for folder in folders:
            state = _state(folder)
            if state == seen[folder]:
                unsettled.pop(folder, None)
            elif unsettled.get(folder) == state:
                seen[folder] = unsettled.pop(folder)
                ready.append(folder)
            else:
                unsettled[folder] = state
        pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 10 * (time.monotonic() - start)))
        if ready:
            yield [folder for folder in ready if folder.exists()]


def _state(folder: Path) -> int:
    """A number that changes when a file comes, goes or changes; 0 for a folder that is not there."""
    state = 0
    waiting = [folder]
    entered: set[tuple[int, int]] = set()
    while waiting:
        try:
            own = waiting[-1].stat()
            current = waiting.pop()
            if (own.st_dev, own.st_ino) in entered:
                continue
            entered.add((own.st_dev, own.st_ino))
            if not current.is_dir():
                state ^= hash((os.fspath(current), own.st_size, own.st_mtime_ns))
                continue
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append(Path(entry.path))
                    else:
                        found = entry.stat()
                        state ^= hash((entry.path, found.st_size, found.st_mtime_ns))
        except OSError:
            if waiting:
                waiting.pop()
    return state
