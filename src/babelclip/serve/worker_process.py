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
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from babelclip.encoder import Encoder, open_encoder
from babelclip.errors import TruncationWarning
from babelclip.runtime.choose import RuntimeName
from babelclip.serve.frames import Call, Message, Ping, Ready, packed, receive_message
from babelclip.serve.tower import LANES, answer, warm_up


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
    warnings.simplefilter("ignore", TruncationWarning)  # only texts are cut whose clients asked for that
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front decides when it is time
    encoder = open_encoder(
        options.model, runtime=cast(RuntimeName, options.runtime), device=options.device, threads=options.threads
    )
    warm_up(encoder)
    with socket.socket(fileno=options.fd) as connection:
        serve(connection, encoder)


if __name__ == "__main__":
    main()
