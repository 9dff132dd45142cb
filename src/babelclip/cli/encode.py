"""Items to vectors, in order, in steps of bounded size; a failed item costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_write import atomic_path
from babelclip.cli.items import InputItem
from babelclip.cli.plain_output import say
from babelclip.prepare.kinds import Kind

if TYPE_CHECKING:
    from babelclip.cli.options import AnyEncoder

_STEP = 256  # items that are held at once


@dataclass(frozen=True, slots=True)
class Encoded:
    """An item with its vector, or with the reason why there is none."""

    item: InputItem
    vector: NDArray[np.float32] | None  # (E,), of length one
    problem: str | None = None
    damage: str | None = None  # what is wrong with an image of which only a part could be read


def encode_items(
    encoder: AnyEncoder,
    items: Iterable[InputItem],
    *,
    dim: int | None = None,
    task: str | None = None,
    max_tokens: int | None = None,
) -> Iterator[Encoded]:
    """Encode items in order. Memory is bounded by ``_STEP`` items however many there are.

    Raises:
        ConfigError: the model does not have that width.
        UnknownTask: the model does not know that task.
    """
    waiting = iter(items)
    while step := list(islice(waiting, _STEP)):
        done: dict[int, Encoded] = {item.index: Encoded(item, None, item.problem) for item in step if item.problem}
        kinds: tuple[Kind, Kind] = ("text", "image")
        for kind in kinds:
            chosen = [item for item in step if item.kind == kind and item.problem is None]
            if chosen:
                for_text, cut_at = (task, max_tokens) if kind == "text" else (None, None)
                given = map(_given, chosen)
                results = encoder.stream(given, kind=kind, task=for_text, dim=dim, max_tokens=cut_at)
                for item, result in zip(chosen, results, strict=True):
                    problem = None if result.error is None else str(result.error)
                    done[item.index] = Encoded(item, result.vector, problem, result.damage)
        yield from (done[item.index] for item in step)


def _given(item: InputItem) -> str | Path:
    return item.source if item.kind == "text" or item.is_data_uri else Path(item.source)


class FailureList:
    """Says on stderr which items failed, and writes them as JSON lines where the user wants them."""

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self._path = path
        self._file: IO[str] | None = None
        self._open = ExitStack()

    def __enter__(self) -> FailureList:
        if self._path:
            unfinished = self._open.enter_context(atomic_path(self._path))
            self._file = self._open.enter_context(unfinished.open("w", encoding="utf-8"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, encoded: Encoded) -> None:
        """Report one failed item."""
        self.count += 1
        item = encoded.item
        say(f"item {item.index} ({item.in_message}): {encoded.problem}")
        if self._file:
            row: dict[str, Any] = {
                "index": item.index,
                "kind": item.kind,
                "input": item.shown,
                "error": encoded.problem,
            }
            if item.id is not None:
                row["id"] = item.id
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def tell_damage(self, encoded: Encoded) -> None:
        """Say what is wrong with an item that was embedded as far as it can be read."""
        if encoded.damage is not None:
            say(f"damaged: item {encoded.item.index} ({encoded.item.in_message}): {encoded.damage}")

    def exit_code(self, num_good: int) -> int:
        """0 when nothing failed, 3 when something was saved, 1 when nothing was."""
        from babelclip.cli.main import DONE, FAILED, PARTLY

        if self.count == 0:
            return DONE
        return PARTLY if num_good else FAILED


def encode_all(
    encoder: AnyEncoder, items: Iterable[InputItem], failures: FailureList
) -> tuple[list[InputItem], NDArray[np.float32]]:
    """The items that could be encoded and their vectors (N, E); the others are reported."""
    good: list[Encoded] = []
    for encoded in encode_items(encoder, items):
        if encoded.vector is None:
            failures.add(encoded)
        else:
            failures.tell_damage(encoded)
            good.append(encoded)
    vectors = np.array([encoded.vector for encoded in good], dtype=np.float32)
    return [encoded.item for encoded in good], vectors.reshape(len(good), encoder.dim)
