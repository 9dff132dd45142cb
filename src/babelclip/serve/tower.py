"""What runs the items of a batch: an encoder in this process, or (``worker.py``) one in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from babelclip.arrays import Vectors
from babelclip.encoder import Encoder
from babelclip.errors import BabelclipError, ImageError, InputError, ItemsError, TextError
from babelclip.serve.frames import Answer, Call, Kind
from babelclip.serve.priced import ItemContent

LANES = 4  # calls at once, two a tower: images of one call are decoded while the tower works on another


class Tower(Protocol):
    """Gives raw vectors of whole width."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked now."""
        ...

    async def run(self, kind: Kind, items: Sequence[ItemContent], task: str | None = None) -> list[Vectors | Exception]:
        """The vector of each item (E,), or the error that it caused.

        Raises: TowerLost when what runs the model is gone; anything else when the call failed as a whole.
        """
        ...

    async def is_alive(self, seconds: float) -> bool:
        """Whether it answers in time."""
        ...


class TowerHere:
    """An encoder of this process, called from a few threads."""

    is_ready = True

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lanes = ThreadPoolExecutor(LANES, thread_name_prefix="tower")
        self._numbers = itertools.count()

    async def run(self, kind: Kind, items: Sequence[ItemContent], task: str | None = None) -> list[Vectors | Exception]:
        """As ``Tower.run``."""
        call = Call(next(self._numbers), kind, tuple(items), task)  # type: ignore[arg-type]
        return results(
            call.kind, await asyncio.get_running_loop().run_in_executor(self._lanes, answer, self._encoder, call)
        )

    async def is_alive(self, seconds: float) -> bool:
        """Always: it dies with this process."""
        return True


def answer(encoder: Encoder, call: Call) -> Answer:
    """Vectors of a call's items."""
    try:
        vectors = (
            encoder.encode_text(call.items, task=call.task, normalize=False)  # type: ignore[arg-type]
            if call.kind == "text"
            else encoder.encode_image(call.items, normalize=False)
        )
    except ItemsError as error:
        return Answer(call.number, error.vectors, error.failures)
    except BabelclipError as error:
        return Answer(call.number, failure=str(error))
    except Exception as error:  # it may hold what a client sent, so only its kind is told
        return Answer(call.number, failure=f"the model failed with {type(error).__name__}")
    return Answer(call.number, vectors, {})


def results(kind: Kind, answer: Answer) -> list[Vectors | Exception]:
    """An answer item by item. Raises: RuntimeError when the call failed as a whole."""
    if answer.failure is not None or answer.vectors is None:
        raise RuntimeError(answer.failure)
    wrong: type[InputError] = TextError if kind == "text" else ImageError
    reasons = answer.reasons or {}
    return [wrong(reasons[at]) if at in reasons else row for at, row in enumerate(answer.vectors)]


def warm_up(encoder: Encoder) -> None:
    """Run both towers once: the first run of a graph is slow."""
    encoder.encode_text(["warm"])
    if encoder.image_size is not None:
        encoder.encode_image([np.zeros((8, 8, 3), np.uint8)])
