"""Every route under every abuse of a request's head, and every phase of a connection under clients that are slow.

The list of both is below; each route, read from the running server, meets each kind. A head is answered as the plain
request is, or refused with 400, as its kind says; never a failure of the server's own, or silence, or two answers.
While it goes on another client's one-word request is answered, and the log has one line for each kind of failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from serving import MODEL, server

pytestmark = pytest.mark.stress
CHANCE = random.Random(20)
AT_ONCE = 24
BODY_SECONDS = 3
TIMES_IDLE, SHORTEST = 40, 0.02
"""How much longer than idle another's request may take; idle is taken for this many seconds at least."""
LARGE = 70_000  # bytes; more than a head may have
BODY = json.dumps({"model": MODEL, "input": "word"}).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)

Parts = tuple[bytes, bytes, bytes]
"""Request line, the lines of the head, what comes after it."""


@dataclass(frozen=True)
class Route:
    method: str
    path: str

    @property
    def plain(self) -> Parts:
        line = f"{self.method} {self.path} HTTP/1.1\r\n".encode()
        return (line, b"Host: x\r\n" + LENGTH, BODY) if self.method == "POST" else (line, b"Host: x\r\n", b"")


def extra(lines: bytes) -> Callable[[Parts], bytes]:
    """More lines of a head."""
    return lambda parts: parts[0] + parts[1] + lines + b"\r\n" + parts[2]


def instead(framing: bytes, after: bytes) -> Callable[[Parts], bytes]:
    """Another statement of what comes after the head, and that."""
    return lambda parts: parts[0] + b"Host: x\r\n" + framing + b"\r\n" + after


def line(change: Callable[[bytes, bytes], bytes]) -> Callable[[Parts], bytes]:
    """Another request line, made of the method and the path."""

    def make(parts: Parts) -> bytes:
        method, path, _ = parts[0].split(b" ")
        return change(method, path) + parts[1] + b"\r\n" + parts[2]

    return make


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"
VALUES = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))

SAME: Mapping[str, Callable[[Parts], bytes]] = {
    "odd bytes in a value": extra(b"X-Odd: " + VALUES + b"\r\n"),
    "odd bytes in headers that are read": extra(
        b"".join(name + b": " + VALUES + b"\r\n" for name in (b"X-Request-Id", b"User-Agent", b"Accept", b"Cookie"))
    ),
    "odd key headers": extra(b"x-api-key: " + VALUES + b"\r\napi-key:\r\nAuthorization: Basic " + VALUES + b"\r\n"),
    "many headers": extra(b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(200))),
    "a header again and again": extra(b"Accept: */*\r\nX-Request-Id: a\r\n" * 100),
    "a long value": extra(b"X-Long: " + b"a" * 30_000 + b"\r\n"),
    "capitals": extra(b"ACCEPT: */*\r\nx-ReQuEsT-iD: a\r\n"),
    "a long query": line(lambda method, path: b"%b %b?%b HTTP/1.1\r\n" % (method, path, b"a=1&" * 5000)),
    "a query of odd bytes": line(lambda method, path: b"%b %b?%%00%%ff=%%zz&;& HTTP/1.1\r\n" % (method, path)),
    "an absolute address": line(lambda method, path: b"%b http://x%b HTTP/1.1\r\n" % (method, path)),
    "HTTP/1.0": line(lambda method, path: b"%b %b HTTP/1.0\r\n" % (method, path)),
    "blank lines before": lambda parts: b"\r\n\r\n" + extra(b"")(parts),
    "it wants to go on": extra(b"Expect: 100-continue\r\n"),
    "it expects what nobody knows": extra(b"Expect: tea\r\n"),
    "another protocol": extra(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n"
    ),
    "a web socket": extra(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBs\r\n"
    ),
}
"""Answered with the status of the plain request."""

REFUSED: Mapping[str, Callable[[Parts], bytes]] = {
    "two lengths": extra(b"Content-Length: 1\r\nContent-Length: 2\r\n"),
    "a negative length": instead(b"Content-Length: -1\r\n", b""),
    "a length with a sign": instead(b"Content-Length: +5\r\n", b"12345"),
    "a hexadecimal length": instead(b"Content-Length: 0x5\r\n", b"12345"),
    "a length of many digits": instead(b"Content-Length: " + b"9" * 40 + b"\r\n", b"12345"),
    "a list of lengths": instead(b"Content-Length: 5, 5\r\n", b"12345"),
    "a length and chunks": instead(b"Content-Length: 5\r\n" + CHUNKED, chunked(BODY) + b"\r\n"),
    "an empty name": extra(b": value\r\n"),
    "a name with a blank": extra(b"X Odd: value\r\n"),
    "a blank before the colon": extra(b"X-Odd : value\r\n"),
    "a name of odd bytes": extra(b"X-\xff\x00: value\r\n"),
    "no colon": extra(b"X-Odd\r\n"),
    "a NUL in a value": extra(b"X-Odd: a\x00b\r\n"),
    "a CR in a value": extra(b"X-Odd: a\rb\r\n"),
    "a long address": line(lambda method, path: b"%b %b?%b HTTP/1.1\r\n" % (method, path, b"a" * LARGE)),
    "a huge value": extra(b"X-Odd: " + b"a" * LARGE + b"\r\n"),
    "a huge name": extra(b"X-" + b"a" * LARGE + b": 1\r\n"),
    "too many headers": extra(b"a: b\r\n" * 2000),
    "no method": line(lambda method, path: b"%b HTTP/1.1\r\n" % path),
    "a method nobody knows": line(lambda method, path: b"MAKE %b HTTP/1.1\r\n" % path),
    "a method in small letters": line(lambda method, path: b"%b %b HTTP/1.1\r\n" % (method.lower(), path)),
    "a method without end": line(lambda method, path: b"P" * LARGE),
    "another version": line(lambda method, path: b"%b %b HTTP/7.3\r\n" % (method, path)),
    "no version": line(lambda method, path: b"%b %b HTTP\r\n" % (method, path)),
    "a path of odd bytes": line(lambda method, path: b"%b %b\xff\x80 HTTP/1.1\r\n" % (method, path)),
    "HTTP/2": lambda parts: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "TLS": lambda parts: bytes.fromhex("16030100c8010000c40303") + CHANCE.randbytes(200),
    "noise": lambda parts: b"\x80" + CHANCE.randbytes(500),
}
"""Answered with 400, and the connection ends."""

BODIES: Mapping[str, Callable[[Parts], bytes]] = {
    "chunks": instead(CHUNKED, chunked(BODY) + b"\r\n"),
    "chunks of a byte": instead(CHUNKED, chunked(*(bytes([each]) for each in BODY)) + b"\r\n"),
    "chunks that say more": instead(CHUNKED, b"%x;name=value\r\n%b\r\n0;last\r\n\r\n" % (len(BODY), BODY)),
    "lines after the chunks": instead(
        CHUNKED, chunked(BODY) + b"X-After: 1\r\nExpect: 100-continue\r\nx-api-key: a\r\n\r\n"
    ),
}
"""Of ``POST``: answered with the status of the plain request."""

BROKEN: Mapping[str, Callable[[Parts], bytes]] = {
    "a chunk of no number": instead(CHUNKED, b"zz\r\n" + BODY),
    "a chunk of a negative number": instead(CHUNKED, b"-5\r\n" + BODY),
    "a chunk of too large a number": instead(CHUNKED, b"f" * 17 + b"\r\n" + BODY),
    "a chunk that is longer": instead(CHUNKED, b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a head after the chunks": instead(CHUNKED, chunked(BODY) + b"X-After: %b\r\n\r\n" % (b"a" * LARGE)),
    "chunks nobody knows": instead(b"Transfer-Encoding: gzip, chunked, tea\r\n", chunked(BODY) + b"\r\n"),
}
"""Of ``POST``: answered with 400, or as the plain request where that needs no body; the connection ends."""
KINDS = {**SAME, **REFUSED, **BODIES, **BROKEN}


@dataclass(frozen=True)
class Running:
    process: int
    port: int
    client: httpx.Client
    routes: list[Route]
    idle_sockets: int  # with one client

    def sockets(self) -> int:
        return open_sockets(self.process)


def open_sockets(process: int) -> int:
    """How many sockets a process has (Linux)."""
    folder, found = Path(f"/proc/{process}/fd"), 0
    for name in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(name.readlink()).startswith("socket:")
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log, started = tmp_path_factory.mktemp("connections") / "log", time.monotonic()
    with server("--log", "none", "--body-seconds", str(BODY_SECONDS), log=log) as (process, client):
        paths = client.get("/openapi.json").json()["paths"]
        routes = [
            Route(method.upper(), path.replace("{name}", MODEL))
            for path, methods in paths.items()
            for method in methods
        ]
        routes += [
            Route("GET", "/openapi.json"),
            Route("POST", "/embeddings"),
            Route("GET", "/none"),
            Route("POST", "/none"),
        ]
        assert len(routes) > 18
        yield Running(process.pid, client.base_url.port or 0, client, routes, open_sockets(process.pid))
    lines = Counter(log.read_text().splitlines())
    minutes = 1 + (time.monotonic() - started) // 60
    assert set(lines) <= SAID, lines
    assert max(lines.values()) <= minutes, lines


SAID = {"WARNING:  Invalid HTTP request received."}
"""What a client that sends what is no HTTP makes the server log, once a minute."""


@contextmanager
def others_are_answered(running: Running) -> Iterator[None]:
    """Another client asks for one word all the while."""

    def one_word() -> float:
        started = time.perf_counter()
        assert running.client.post("/v1/embeddings", json={"model": MODEL, "input": "word"}).status_code == 200
        return time.perf_counter() - started

    idle = max(SHORTEST, max(one_word() for _ in range(5)))
    taken, is_over = [0.0], threading.Event()

    def ask() -> None:
        while not is_over.wait(0.05):
            taken.append(one_word())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        is_over.set()
        asking.join()
    assert len(taken) > 3
    assert max(taken) < TIMES_IDLE * idle, f"{max(taken):.2f} s, {idle:.3f} s when idle"


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader, method: str) -> int | None:
    """The status of the next answer, read whole; None: there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.lower().split(b"\r\n")
    status, fields = int(first.split()[1]), dict(each.split(b": ", 1) for each in lines if each)
    if status < 200:
        return await answer(reader, method)
    if method != "HEAD" and status != 204:
        await reader.readexactly(int(fields[b"content-length"]))
    return status


@dataclass(frozen=True)
class Outcome:
    status: int | None
    more: bytes  # what came after the answer
    has_ended: bool


async def ask(running: Running, route: Route, sent: bytes, pieces: int = 1) -> Outcome:
    async with asyncio.timeout(30), connected(running.port) as (reader, writer):
        cuts = [0, *sorted(CHANCE.sample(range(1, len(sent)), pieces - 1)), len(sent)]
        for start, end in itertools.pairwise(cuts):
            writer.write(sent[start:end])
            await asyncio.sleep(0.002)
        status = await answer(reader, route.method)
        try:
            async with asyncio.timeout(0.15):
                more = await reader.read(1000)
        except TimeoutError:
            return Outcome(status, b"", has_ended=False)
        except ConnectionError:
            more = b""
        return Outcome(status, more, has_ended=not more)


async def ask_all(
    running: Running, asked: list[tuple[Route, bytes]], *, pieces: int = 1, at_once: int = AT_ONCE
) -> list[Outcome]:
    turn = asyncio.Semaphore(at_once)

    async def one(route: Route, sent: bytes) -> Outcome:
        async with turn:
            return await ask(running, route, sent, pieces)

    return list(await asyncio.gather(*(one(*each) for each in asked)))


Expected = Literal["same", "refused", "same or refused"]


def test_every_route_under_every_head(running: Running) -> None:
    plain = dict(
        zip(
            running.routes,
            asyncio.run(ask_all(running, [(each, extra(b"")(each.plain)) for each in running.routes])),
            strict=True,
        )
    )
    expected: dict[str, Expected] = {
        **dict.fromkeys((*SAME, *BODIES), "same"),
        **dict.fromkeys(REFUSED, "refused"),
        **dict.fromkeys(BROKEN, "same or refused"),
    }
    cases = [
        (route, kind)
        for kind in KINDS
        for route in running.routes
        if route.method == "POST" or kind not in {**BODIES, **BROKEN}
    ]
    with others_are_answered(running):
        found = asyncio.run(ask_all(running, [(route, KINDS[kind](route.plain)) for route, kind in cases]))
    wrong = []
    for (route, kind), outcome in zip(cases, found, strict=True):
        as_plain = outcome.status == plain[route].status
        is_good = {
            "same": as_plain,
            "refused": outcome.status == 400,
            "same or refused": as_plain or outcome.status == 400,
        }
        must_end = expected[kind] != "same"
        if not is_good[expected[kind]] or outcome.more or (must_end and not outcome.has_ended):
            wrong.append(f"{kind}: {route.method} {route.path}: {outcome}, plain {plain[route].status}")
    assert not wrong, "\n".join(wrong)


def test_heads_that_come_in_pieces(running: Running) -> None:
    """A head is the same head wherever the network cuts it."""
    route = Route("POST", "/v1/embeddings")
    kinds = [kind for kind in (*SAME, *BODIES) for _ in range(4)]
    asked = [(route, KINDS[kind](route.plain)) for kind in kinds]
    found = asyncio.run(ask_all(running, asked, pieces=4))
    assert [kind for kind, each in zip(kinds, found, strict=True) if each.status != 200 or each.more] == []


def damaged(content: bytes) -> bytes:
    """Bytes of a request, with some of them taken out, doubled, moved or replaced."""
    found = bytearray(content)
    for _ in range(CHANCE.randrange(1, 6)):
        start = CHANCE.randrange(len(found))
        piece = found[start : start + CHANCE.randrange(1, 30)]
        change = CHANCE.randrange(4)
        if change == 0:
            del found[start : start + len(piece)]
        elif change == 1:
            found[start:start] = piece * CHANCE.randrange(1, 50)
        elif change == 2:
            found[start] = CHANCE.choice((0, 10, 13, 32, 58, 128, 255, CHANCE.randrange(256)))
        else:
            found += piece
        if not found:
            break
    return bytes(found) or b" "


def test_heads_with_random_damage(running: Running) -> None:
    """Nothing fails, and whatever is not whole is waited for no longer than the phase allows."""
    kinds = list(KINDS.values())
    routes = [CHANCE.choice(running.routes) for _ in range(240)]
    asked = [(route, damaged(CHANCE.choice(kinds)(route.plain))) for route in routes]
    with others_are_answered(running):
        found = asyncio.run(ask_all(running, asked, at_once=60))
    statuses = Counter(each.status for each in found)
    assert not [status for status in statuses if status is not None and not 200 <= status < 500], statuses
    assert statuses[400] > 30, statuses
    assert len(statuses) > 3, statuses


async def drip(
    pieces: Iterator[bytes], pause: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send in small pieces, as long as anybody takes them."""
    for piece in pieces:
        writer.write(piece)
        try:
            async with asyncio.timeout(pause):
                if not await reader.read(65536):
                    return
        except TimeoutError:
            pass


HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n"
STARTS_BODY = HEAD + b"Content-Length: 100000\r\n\r\n"
STARTS_CHUNKS = HEAD + CHUNKED + b"\r\n"
GET = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
MANY = json.dumps(
    {"model": MODEL, "input": ["word"] * 256, "embedding_type": ["float", "base64", "int8", "uint8"]}
).encode()
LONG_ANSWER = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(MANY), MANY)


def endless(piece: bytes) -> Iterator[bytes]:
    return itertools.repeat(piece)


HEAD_TIME, BODY_TIME, READER_TIME = 5, BODY_SECONDS, 20
SLOW: Mapping[str, tuple[bytes, Callable[[], Iterator[bytes]], float, float]] = {
    "nothing is sent": (b"", lambda: endless(b""), 0.2, HEAD_TIME),
    "a head by the byte": (b"", lambda: (bytes([each]) for each in HEAD * 100), 0.2, HEAD_TIME),
    "headers without end": (HEAD, lambda: endless(b"a: b\r\n"), 0.2, HEAD_TIME),
    "a head by the byte behind an answer": (GET, lambda: (bytes([each]) for each in HEAD * 100), 0.2, HEAD_TIME),
    "a body by the byte": (STARTS_BODY, lambda: endless(b"["), 0.2, BODY_TIME + 2),
    "a body that does not come": (STARTS_BODY, lambda: endless(b""), 0.2, BODY_TIME + 2),
    "chunks by the byte": (STARTS_CHUNKS, lambda: endless(b"1\r\n[\r\n"), 0.2, BODY_TIME + 2),
    "a chunk's name by the byte": (STARTS_CHUNKS + b"1;", lambda: endless(b"a"), 0.2, BODY_TIME + 2),
    "a chunk's name in a flood": (STARTS_CHUNKS + b"1;", lambda: endless(b"a" * 2**16), 0.01, BODY_TIME + 2),
    "chunks in a flood": (STARTS_CHUNKS, lambda: endless(b"1\r\n[\r\n" * 2**13), 0.01, BODY_TIME + 2),
    "lines after chunks in a flood": (STARTS_CHUNKS + b"0\r\n", lambda: endless(b"a: b\r\n" * 2**10), 0.01, BODY_TIME),
    "a body nobody asked for": (
        b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", lambda: endless(b"[" * 2**16), 0.01, 3,
    ),
    "an answer to a GET that has a body": (
        b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", lambda: endless(b"["), 0.2, 3,
    ),
}  # fmt: skip
"""What is sent first, what after it and how slowly, and the seconds within which the server ends it."""


async def take_slowly(running: Running, sent: bytes, each: int, pause: float) -> None:
    """Read an answer a little at a time, until the server has ended all of them: much lies in the network even then."""
    loop = asyncio.get_running_loop()
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.setblocking(False)
        await loop.sock_connect(own, ("127.0.0.1", running.port))
        await loop.sock_sendall(own, sent)
        started = time.monotonic()
        while time.monotonic() - started < 3 or running.sockets() > running.idle_sockets:
            await asyncio.sleep(pause)
            assert time.monotonic() - started < READER_TIME + 15, "it holds connections of those who do not read"
            if each:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(own, each), 0.1)


READERS: Mapping[str, tuple[bytes, int, float]] = {
    "an answer that is not read": (LONG_ANSWER, 0, 0.2),
    "an answer by the byte": (LONG_ANSWER, 50, 0.2),
    "many answers that are not read": (GET * 16, 0, 0.2),
}
"""What is sent, how many bytes are read at a time, and the pause between."""


def test_nobody_is_waited_for_without_end(running: Running) -> None:
    """All of them at once: each is ended within the time of its phase, and others are answered."""

    async def send(kind: str) -> float:
        first, pieces, pause, _ = SLOW[kind]
        started = time.monotonic()
        async with asyncio.timeout(60), connected(running.port) as (reader, writer):
            writer.write(first)
            with contextlib.suppress(ConnectionError):
                await drip(pieces(), pause, reader, writer)
        return time.monotonic() - started

    async def all_of_them() -> list[float]:
        readers = asyncio.gather(*(take_slowly(running, *READERS[kind]) for kind in READERS))
        await asyncio.sleep(3)  # what they ask for has been embedded, which others may wait for
        with others_are_answered(running):
            senders = await asyncio.gather(*(send(kind) for kind in SLOW for _ in range(2)))
        await readers
        return list(senders)

    taken = asyncio.run(all_of_them())
    names = [kind for kind in SLOW for _ in range(2)]
    slow = [(name, seconds) for name, seconds in zip(names, taken, strict=True) if seconds > SLOW[name][3] + 4]
    assert not slow
