"""Messages between the front process and a worker: a length, then a pickle, over a socket that only they hold.

Pickle is safe here and nowhere else: both ends are this program, and what clients send travels inside as str, bytes and
arrays of pixels.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any, Literal

from babelclip.arrays import Vectors
from babelclip.serve.pricing import ImageContent

_LENGTH = struct.Struct("<Q")

MessageKind = Literal["text", "image"]


@dataclass(frozen=True, slots=True)
class InferenceCall:
    """What the worker is asked: raw vectors of whole width for all items."""

    number: int
    kind: MessageKind
    items: tuple[str, ...] | tuple[ImageContent, ...]
    task: str | None = None


@dataclass(frozen=True, slots=True)
class InferenceReply:
    """What it answers. A ``failure`` is one of the whole call: no item is known to be at fault."""

    number: int
    vectors: Vectors | None = None  # float32 (N, E); rows of failed items are NaN
    reasons: dict[int, str] | None = None  # position of a failed item -> why
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and warm."""

    facts: dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered with itself, whatever the model is doing."""

    number: int


Message = InferenceCall | InferenceReply | Ready | Ping


def pack_message(message: Message) -> bytes:
    """A message as it is sent, its length before it."""
    content = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(content)) + content


async def read_message(reader: asyncio.StreamReader) -> Any:
    """The next message.

    Raises:
        IncompleteReadError: the other end is gone.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


def receive_message(connection: socket.socket) -> Any:
    """The next message, blocking.

    Raises:
        EOFError: the other end is gone.
    """
    (length,) = _LENGTH.unpack(_receive_exactly(connection, _LENGTH.size))
    return pickle.loads(_receive_exactly(connection, length))


def _receive_exactly(connection: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    view, position = memoryview(content), 0
    while position < count:
        received = connection.recv_into(view[position:])
        if not received:
            raise EOFError("the other process is gone")
        position += received
    return content
