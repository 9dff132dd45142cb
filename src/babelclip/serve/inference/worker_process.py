"""The process that owns a model: ``python -m babelclip.serve.inference.worker_process FD MODEL ...``.

``worker`` starts it. It reads calls from a socket that it was born with and answers them from a few threads, so that
images of one call are decoded while the tower works on another. When the front process goes, the socket closes and it
ends. What it prints goes to the front's log (``worker_output``): nothing of it can get between the messages.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, cast

from babelclip.encoder import Encoder, open_encoder
from babelclip.errors import TruncationWarning
from babelclip.prepare.open_image import ImageLimits
from babelclip.prepare.pixel_budget import DECODING
from babelclip.runtime.choose import RuntimeName
from babelclip.serve.freed_memory import FreedMemory, large_blocks_go_back
from babelclip.serve.inference.backend import CONCURRENT_CALLS, run_call, warm_up
from babelclip.serve.inference.ipc import InferenceCall, Message, Ping, Ready, pack_message, receive_message

LARGE_CALL = 2**14
"""Bytes and characters of a call from which on it may make the runtime keep more than it needs when idle."""


def _serve(connection: socket.socket, encoder: Encoder) -> NoReturn:
    """Answer until the other end closes; the process ends with that."""
    sending = threading.Lock()

    def send(message: Message) -> None:
        with sending:
            connection.sendall(pack_message(message))

    freed = FreedMemory(encoder.free_memory)

    def run(call: InferenceCall) -> None:
        is_large = sum(map(len, call.items)) >= LARGE_CALL or call.kind == "image"
        send(run_call(encoder, call))
        if is_large:
            freed.soon()

    send(Ready(encoder.facts()))
    with ThreadPoolExecutor(CONCURRENT_CALLS) as threads:
        while True:
            try:
                message = receive_message(connection)
            except (EOFError, OSError):
                os._exit(
                    0
                )  # nobody hears what is still computed, and a model that hangs would keep the process for ever
            if isinstance(message, Ping):
                send(message)
            else:
                threads.submit(run, cast(InferenceCall, message))
                del message  # it would be held until the next one comes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fd", type=int)
    parser.add_argument("model")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--pixels-at-once", type=int)
    options = parser.parse_args()
    if options.pixels_at_once is not None:
        DECODING.total, DECODING.spare = options.pixels_at_once, 0
    large_blocks_go_back()
    warnings.simplefilter("ignore", TruncationWarning)  # only texts are cut whose clients asked for that
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front decides when it is time
    try:
        encoder = open_encoder(
            options.model,
            runtime=cast(RuntimeName, options.runtime),
            device=options.device,
            dtype=options.dtype,
            threads=options.threads,
            image_limits=ImageLimits(damaged=False),  # a client cannot be told of a damage, so it is an error
        )
        warm_up(encoder)
    except Exception as error:  # the front says it, in one line
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    with socket.socket(fileno=options.fd) as connection:
        _serve(connection, encoder)


if __name__ == "__main__":
    main()
