"""The process that owns a model: ``python -m babelclip.serve.worker_process FD MODEL ...``, started by ``worker.py``.

It reads calls from a socket that it was born with and answers them from a few threads, so that images of one call are
decoded while the tower works on another. When the front process goes, the socket closes and it ends. Its standard
output is the front's standard error: nothing that a library prints can get between the messages.
"""

from __future__ import annotations

import argparse
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np

from babelclip.encoder import Encoder, open_encoder
from babelclip.errors import BabelclipError, ItemsError
from babelclip.runtime.choose import RuntimeName
from babelclip.serve.frames import Answer, Call, Message, Ping, Ready, packed, receive_message

LANES = 4  # calls at once: two a tower


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


def warm_up(encoder: Encoder) -> None:
    """Run both towers once: the first run of a graph is slow."""
    encoder.encode_text(["warm"])
    if encoder.image_size is not None:
        encoder.encode_image([np.zeros((8, 8, 3), np.uint8)])


def serve(connection: socket.socket, encoder: Encoder) -> None:
    """Answer until the other end closes."""
    sending = threading.Lock()

    def send(message: Message) -> None:
        with sending:
            connection.sendall(packed(message))

    send(Ready(encoder.facts()))
    with ThreadPoolExecutor(LANES) as lanes:
        while True:
            try:
                message = receive_message(connection)
            except (EOFError, OSError):
                return
            if isinstance(message, Ping):
                send(message)
            else:
                lanes.submit(lambda call: send(answer(encoder, call)), cast(Call, message))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fd", type=int)
    parser.add_argument("model")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front decides when it is time
    encoder = open_encoder(
        options.model, runtime=cast(RuntimeName, options.runtime), device=options.device, threads=options.threads
    )
    warm_up(encoder)
    with socket.socket(fileno=options.fd) as connection:
        serve(connection, encoder)


if __name__ == "__main__":
    main()
