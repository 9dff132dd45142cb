"""Failures stay with the item that caused them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from babelclip.errors import BabelclipError, InputError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_isolated(
    run: Callable[[Sequence[_Item]], Sequence[_Result]], items: Sequence[_Item | Exception]
) -> list[_Result | Exception]:
    """The result of each item, in order; where a batch fails, its halves are tried, so that only the culprit fails.

    ``run`` gives one result for each item it gets. Items that are exceptions already stay as they are.
    """
    results = iter(_run_good(run, [item for item in items if not isinstance(item, Exception)]))
    return [item if isinstance(item, Exception) else next(results) for item in items]


def _run_good(run: Callable[[Sequence[_Item]], Sequence[_Result]], items: Sequence[_Item]) -> list[_Result | Exception]:
    if not items:
        return []
    try:
        results = run(items)
    except Exception as error:
        if len(items) == 1:
            return [error]
        middle = len(items) // 2
        return [*_run_good(run, items[:middle]), *_run_good(run, items[middle:])]
    assert len(results) == len(items), f"{len(results)} results for {len(items)} items"
    return list(results)


def as_input_error(error: Exception, kind: type[InputError]) -> InputError:
    """The error of one item; what was not foreseen becomes one of ``kind`` that names its class."""
    if isinstance(error, InputError):
        return error
    foreseen = isinstance(error, BabelclipError)
    wrapped = kind(str(error) if foreseen else f"could not be embedded: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
