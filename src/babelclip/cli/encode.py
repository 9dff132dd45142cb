"""Items to vectors, in order, in steps of bounded size; a failed item costs only itself."""

from __future__ import annotations

import json
import sys
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
from babelclip.errors import ItemsError
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
                vectors, failures = _encode_kind(encoder, kind, chosen, dim, task, max_tokens)
                for position, item in enumerate(chosen):
                    problem = failures.get(position)
                    done[item.index] = Encoded(item, None if problem else vectors[position], problem)
        yield from (done[item.index] for item in step)


def _encode_kind(
    encoder: AnyEncoder, kind: Kind, items: list[InputItem], dim: int | None, task: str | None, max_tokens: int | None
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Vectors (N, dim) of items of one kind, and the reasons of those that failed."""
    try:
        if kind == "text":
            texts = [item.source for item in items]
            return encoder.encode_text(texts, task=task, dim=dim, max_tokens=max_tokens), {}
        images = [item.source if item.is_data_uri else Path(item.source) for item in items]
        return encoder.encode_image(images, dim=dim), {}
    except ItemsError as error:
        return error.vectors, dict(error.failures)


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
        print(f"babelclip: item {item.index} ({item.shown[:200]}): {encoded.problem}", file=sys.stderr)
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
            good.append(encoded)
    vectors = np.array([encoded.vector for encoded in good], dtype=np.float32)
    return [encoded.item for encoded in good], vectors.reshape(len(good), encoder.dim)
