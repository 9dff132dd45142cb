"""What runs the items of a batch: an encoder in this process, or (``worker``) one in a process of its own."""

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
from babelclip.serve.inference.ipc import InferenceCall, InferenceReply, MessageKind
from babelclip.serve.pricing import ItemContent

CONCURRENT_CALLS = 4  # two a tower: images of one call are decoded while the tower works on another


class Backend(Protocol):
    """Gives raw vectors of whole width."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked now."""
        ...

    async def run(
        self, kind: MessageKind, items: Sequence[ItemContent], task: str | None = None
    ) -> list[Vectors | Exception]:
        """The vector of each item (E,), or the error that it caused.

        Raises:
            BackendLost: what runs the model is gone.
            Exception: anything else, when the call failed as a whole.
        """
        ...

    async def is_alive(self, seconds: float) -> bool:
        """Whether it answers in time."""
        ...


class LocalBackend:
    """An encoder of this process, called from a few threads."""

    is_ready = True

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._threads = ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="model")
        self._numbers = itertools.count()

    async def run(
        self, kind: MessageKind, items: Sequence[ItemContent], task: str | None = None
    ) -> list[Vectors | Exception]:
        """As ``Backend.run``."""
        call = InferenceCall(next(self._numbers), kind, tuple(items), task)  # type: ignore[arg-type]
        reply = await asyncio.get_running_loop().run_in_executor(self._threads, run_call, self._encoder, call)
        return results_of(kind, reply)

    async def is_alive(self, seconds: float) -> bool:
        """Always: it dies with this process."""
        return True


def run_call(encoder: Encoder, call: InferenceCall) -> InferenceReply:
    """Vectors of a call's items."""
    try:
        vectors = (
            encoder.encode_text(call.items, task=call.task, normalize=False)  # type: ignore[arg-type]
            if call.kind == "text"
            else encoder.encode_image(call.items, normalize=False)
        )
    except ItemsError as error:
        return InferenceReply(call.number, error.vectors, error.failures)
    except BabelclipError as error:
        return InferenceReply(call.number, failure=str(error))
    except Exception as error:  # it may hold what a client sent, so only its kind is told
        return InferenceReply(call.number, failure=f"the model failed with {type(error).__name__}")
    return InferenceReply(call.number, vectors, {})


def results_of(kind: MessageKind, reply: InferenceReply) -> list[Vectors | Exception]:
    """A reply item by item.

    Raises:
        RuntimeError: the call failed as a whole.
    """
    if reply.failure is not None or reply.vectors is None:
        raise RuntimeError(reply.failure)
    error_type: type[InputError] = TextError if kind == "text" else ImageError
    reasons = reply.reasons or {}
    return [error_type(reasons[index]) if index in reasons else row for index, row in enumerate(reply.vectors)]


def warm_up(encoder: Encoder) -> None:
    """Run both towers once: the first run of a graph is slow."""
    encoder.encode_text(["warm"])
    if encoder.image_size is not None:
        encoder.encode_image([np.zeros((8, 8, 3), np.uint8)])
