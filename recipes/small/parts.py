"""Long computations over many items, kept part by part: what a kill leaves is not computed again.

A file of its own because texts and photos both go through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_write import atomic_path

Item = TypeVar("Item")
Say = Callable[[str], None]


def in_parts(
    folder: Path,
    what: str,
    items: Sequence[Item],
    compute: Callable[[Sequence[Item]], NDArray[np.float16]],
    *,
    size: int,
    say: Say,
) -> NDArray[np.float16]:
    """``compute`` of all items, ``size`` at a time: (N, ...).

    Args:
        folder: Where the parts are kept; the caller removes it once the whole is written.
        what: The items, for messages.
        items: All of them, the same at every run.
        compute: Some items -> a row for each.
        size: Of a part.
        say: Takes a line about the progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[NDArray[np.float16]] = []
    began, computed = time.monotonic(), 0
    for start in range(0, len(items), size):
        file, part = folder / f"{start // size:05}.npy", items[start : start + size]
        if not file.is_file():
            rows = compute(part)
            with atomic_path(file) as unfinished, unfinished.open("wb") as stream:
                np.save(stream, rows)
            computed += len(part)
            done = start + len(part)
            left = (time.monotonic() - began) / computed * (len(items) - done)
            say(f"  {done:,} of {len(items):,} {what}, {left / 60:.0f} min left")
        parts.append(np.load(file))
    return np.concatenate(parts)
