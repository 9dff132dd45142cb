"""The page ends as the API does: within the stated time of SIGTERM, and who cannot be answered is told so."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from .conftest import running

SECONDS = 3
"""From SIGTERM to the end, here."""


def received(connection: socket.socket) -> bytes:
    content = b""
    while part := connection.recv(2**16):
        content += part
    return content


def test_it_ends_in_time_and_tells_everybody(environment: dict[str, str], tmp_path: Path) -> None:
    """With more costly pictures asked for than can be drawn in time, half a body, half a head, and a silent client."""
    log = tmp_path / "log"
    given = {**environment, "BABELCLIP_UI_DRAIN_SECONDS": str(SECONDS), "BABELCLIP_UI_PAGE_WHERES_WAITING": "200"}
    with running(["ui", "--no-open"], given, log) as (address, process), ExitStack() as stack:
        page = httpx.get(address, params={"q": "zebras"}, timeout=60).text
        photo = re.findall(r'data-id="([0-9a-f-]+)"', page)[0]

        def connected(sent: str) -> socket.socket:
            port = urlsplit(address).port or 0
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            connection.sendall(sent.encode())
            return connection

        waiting = [
            connected(f"GET /where/{photo}?q=end+{number} HTTP/1.1\r\nHost: localhost\r\n\r\n") for number in range(60)
        ]
        half_body = connected("POST /results HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{")
        half_head, silent = connected("GET /results HTT"), connected("")
        assert httpx.get(f"{address}/health", timeout=60).status_code == 200  # those before have come in
        os.kill(process.pid, signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - began < SECONDS + 3  # three more for a machine that is busy
        answers = [received(connection) for connection in (*waiting, half_body)]
        assert [received(half_head), received(silent)] == [b"", b""]
    statuses = [answer.split(b" ")[1] for answer in answers]
    assert set(statuses) <= {b"200", b"503"}
    assert statuses.count(b"503") > 10
    for answer, status in zip(answers, statuses, strict=True):
        if status == b"503":
            assert re.search(rb"\r\nretry-after: \d+\r\n", answer.lower())
            assert b'"detail"' in answer
    assert statuses[-1] == b"503"
    assert log.read_text() == ""  # and no traceback
