"""A progress bar on stderr, for calls that ask for one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(show: bool, what: str, items: Iterable[object]) -> Iterator[Callable[[], None]]:
    """Gives what to call after each item; nothing is shown unless ``show``."""
    if not show:
        yield lambda: None
        return
    total = len(items) if isinstance(items, Sized) else None
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
