"""What strangers may cost the page: each route with each kind of input, floods of each, and clients that leave."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import statistics
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from fastapi.routing import APIRoute

from babelclip.serve.settings import ServerSettings
from babelclip.web.app import PAGE_ROUTERS
from babelclip.web.settings import PageSettings

from .conftest import running

pytestmark = pytest.mark.stress

MAX_BODY_BYTES = PageSettings().upload_bytes
SLOWER = 10
"""How many times its idle time a search for one word may take while others cost as much as they can."""
BYTES_PER_BYTE = 4
"""Memory that a byte of a request may take ..."""
CONSTANT = PageSettings().upload_memory
"""... beside what one picture of as many pixels as are taken does."""
FLOOD = 45
ONE_WORD = {"q": "dog"}


@dataclass(frozen=True)
class Page:
    """A page that runs, and the process that it runs in."""

    address: str
    pid: int
    photo: str  # the id of one

    def search(self) -> float:
        """Seconds that a search for one word takes, of a client that is alone with it."""
        started = time.perf_counter()
        assert httpx.get(f"{self.address}/results", params=ONE_WORD, timeout=60).status_code == 200
        return time.perf_counter() - started

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, what: str) -> int:
        """Bytes: VmRSS, or VmHWM since the last ``forget_peak``."""
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found.group(1)) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def becomes_idle(self) -> bool:
        """Within some seconds: it takes less than a twentieth of a processor for a while."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            before = self.cpu()
            time.sleep(0.5)
            if self.cpu() - before < 0.025:
                return True
        return False


@pytest.fixture(scope="module")
def page(environment: dict[str, str]) -> Iterator[Page]:
    with running(["ui", "--no-open", "--wait-seconds", "2"], environment) as (address, process):
        shown = httpx.get(address, params={"q": "zebras"}, timeout=60).text
        page = Page(address, process.pid, re.findall(r'data-id="([0-9a-f-]+)"', shown)[0])
        for path in ("thumbnail", "picture"):
            httpx.get(f"{address}/{path}/{page.photo}", timeout=60)
        yield page


def png(width: int, height: int) -> bytes:
    """A picture of few bytes and many pixels, all of them black."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(), bytes(1 + 4 * width)
    rows = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


LARGEST = png(7050, 7050)  # 49.7 megapixels: as many as are taken
TOO_MANY_PIXELS = png(7100, 7100)  # 50.4

Head = tuple[str, bytes]
"""What stands behind the path, and further header lines."""
ADDRESSES: dict[str, Head] = {
    "a query of a megabyte": ("?q=" + "a" * 2**20, b""),
    "a query of a megabyte in percent signs": ("?q=" + "%F0%9F%90%95" * 90_000, b""),
    "characters that become eighteen": ("?q=" + quote("ﷺ") * 4000, b""),
    "a query of a thousand parts": ("?q=" + "a+%2B+" * 600 + "a", b""),
    "texts of a megabyte": ("?texts=" + "a+" * 2**19, b""),
    "half a million parameters": ("?" + "a&" * 500_000, b""),
    "thousands of parameters": ("?" + "&".join(f"q{number}=1" for number in range(5000)), b""),
    "a number of five thousand digits": (f"?q=a&start={'9' * 5000}&dim={'9' * 5000}", b""),
    "a number that is none": ("?q=a&texts=a&start=%C2%B2&dim=%C2%B2", b""),
    "a number below zero": ("?q=a&texts=a&start=-1&dim=-1", b""),
    "bytes that are no text": ("?q=%ED%A0%80%FF%00&texts=%FF%00&like=%FF%00", b""),
    "a header of a megabyte": ("?q=a", b"X-Long: " + b"a" * 2**20 + b"\r\n"),
    "ten thousand headers": ("?q=a", b"X-Many: a\r\n" * 10_000),
    "languages of a megabyte": ("?q=a", b"Accept-Language: " + b"en," * 330_000 + b"\r\n"),
    "a path of a megabyte": ("/" + "a" * 2**20, b""),
}
BODIES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "lists": lambda: b"[" + b"[]," * 8_000_000 + b"[]]",
    "numbers": lambda: b'{"texts": [' + b"1," * 8_000_000 + b'1], "images": []}',
    "lists as texts": lambda: b'{"texts": [' + b"[]," * 8_000_000 + b'[]], "images": []}',
    "depth": lambda: b'{"texts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a wide text": lambda: b'{"texts": ["' + b"a" * (24 * 2**20) + "🐕".encode() + b'"], "images": []}',
    "characters that become eighteen": lambda: json.dumps({"texts": ["ﷺ" * 15_000], "images": []}).encode(),
    "half a character": lambda: b'{"texts": ["\\ud800"], "images": []}',
    "a name of half a character": lambda: b'{"texts": [], "images": [{"name": "\\ud800", "content": "AAAA"}]}',
    "an ignored field": lambda: b'{"texts": ["a"], "images": [], "x": [' + b"{}," * 8_000_000 + b"{}]}",
    "more than is taken": lambda: b"\0" * (MAX_BODY_BYTES + 2**20),
    "as many bytes as are taken": lambda: b"\xff\xd8\xff" + b"\0" * (MAX_BODY_BYTES - 3),
    "as many pixels as are taken": lambda: LARGEST,
    "too many pixels": lambda: TOO_MANY_PIXELS,
    "images of many pixels": lambda: playground_of([LARGEST] * 2),
    "images of too many pixels": lambda: playground_of([TOO_MANY_PIXELS] * 24),
    "a thousand images": lambda: playground_of([b"GIF89a"] * 1000),
}
ROUTES = [
    (method, route.path)
    for router in PAGE_ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
"""Of the page; a new one is tried with everything here, as it comes."""


def playground_of(images: list[bytes]) -> bytes:
    contents = [{"name": "a", "content": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"texts": ["a"], "images": contents, "dim": 64}).encode()


def sent(page: Page, method: str, path: str, head: Head, body: bytes) -> tuple[int, bytes]:
    """The status of an answer, and its body, over a connection of its own."""
    behind, lines = head
    target = path.replace("{id}", page.photo) + behind
    port = urlsplit(page.address).port
    with socket.create_connection(("127.0.0.1", port), 60) as connection:  # type: ignore[arg-type]
        start = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        try:
            connection.sendall(start.encode() + lines + b"\r\n")
            connection.sendall(body)
        except OSError:
            pass  # it was refused before all of it was sent; the answer is there
        answer = b""
        try:
            while part := connection.recv(2**16):
                answer += part
        except ConnectionResetError:
            pass
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return (0 if found is None else int(found.group(1))), answer


def within_bounds(page: Page, method: str, path: str, head: Head, body: bytes) -> None:
    """It is answered, by no failure, and the memory that it takes has its bound."""
    page.forget_peak()
    before = page.memory("VmRSS")
    status, answer = sent(page, method, path, head, body)
    received = len(head[0]) + len(head[1]) + len(body)
    taken = page.memory("VmHWM") - before
    assert status < 500, answer[:500]
    assert status or received > MAX_BODY_BYTES, "only who sends more than is taken may find the connection closed"
    assert taken < BYTES_PER_BYTE * received + CONSTANT, f"{taken:,} bytes of memory for {received:,}"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_each_kind_of_address_at_each_route(page: Page, method: str, path: str) -> None:
    for kind, head in ADDRESSES.items():
        try:
            within_bounds(page, method, path, head, b"")
        except AssertionError as error:
            raise AssertionError(f"{kind}: {error}") from error


@pytest.mark.parametrize("kind", BODIES)
def test_each_kind_of_body_at_each_route(page: Page, kind: str) -> None:
    body = BODIES[kind]()
    for method, path in ROUTES:
        try:
            within_bounds(page, method, path, ("?q=a" if "/where/" in path else "", b""), body)
        except AssertionError as error:
            raise AssertionError(f"{method} {path}: {error}") from error


@contextmanager
def clients(page: Page, requests: list[bytes]) -> Iterator[list[socket.socket]]:
    """Clients that have sent a request each and wait; they leave at the end."""
    with ExitStack() as stack:
        port = urlsplit(page.address).port
        opened = []
        for request in requests:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))  # type: ignore[arg-type]
            connection.sendall(request)
            opened.append(connection)
        yield opened


def get(target: str, more: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def post(target: str, body: bytes) -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


FLOODS: dict[str, Callable[[Page, int], bytes]] = {
    "GET /": lambda page, number: get(f"/?q=flood+of+words+{number}"),
    "GET /results": lambda page, number: get(f"/results?q=flood+of+words+{number}"),
    "POST /results": lambda page, number: post("/results", png(4000, 3000)),
    "GET /progress": lambda page, number: get("/progress"),
    "GET /health": lambda page, number: get("/health"),
    "GET /thumbnail/{id}": lambda page, number: get(f"/thumbnail/{page.photo}"),
    "GET /picture/{id}": lambda page, number: get(f"/picture/{page.photo}"),
    "GET /where/{id}": lambda page, number: get(f"/where/{page.photo}?q=flood+{number}"),
    "GET /playground": lambda page, number: get("/playground?texts=" + "%0A".join(["a+flood" * 50] * 20)),
    "POST /playground": lambda page, number: post("/playground", playground_of([png(2000, 2000)] * 12)),
}


def test_a_flood_is_tried_of_each_route() -> None:
    assert list(FLOODS) == [f"{method} {path}" for method, path in ROUTES]


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_holds_up_no_search_and_ends_with_its_clients(page: Page, kind: str) -> None:
    assert page.becomes_idle()
    idle = statistics.median(page.search() for _ in range(7))
    requests = [FLOODS[kind](page, number) for number in range(FLOOD)]
    with clients(page, requests):
        time.sleep(0.2)  # the first have begun
        waited = statistics.median(page.search() for _ in range(5))
        print(f"{kind}: {waited / idle:.1f} times of {idle:.4f} s")
        assert waited < SLOWER * idle, f"{waited:.3f} s in place of {idle:.3f}"
        assert httpx.get(f"{page.address}/health", timeout=60).status_code == 200
    assert page.becomes_idle(), "it goes on after its clients have left"


def test_who_finds_the_queue_full_is_told_when_to_ask_again(page: Page) -> None:
    asked = [get(f"/where/{page.photo}?q=full+{number}") for number in range(12)]
    with clients(page, asked):
        time.sleep(0.3)
        told = httpx.get(f"{page.address}/where/{page.photo}", params={"q": "one more"}, timeout=60)
        assert (told.status_code, told.headers["retry-after"]) == (503, "2")
        assert told.json()["detail"].startswith("too many others")
        read = httpx.get(
            f"{page.address}/where/{page.photo}", params={"q": "again"}, headers={"Accept": "text/html"}, timeout=60
        )
        assert (read.status_code, read.headers["retry-after"]) == (503, "2")
        assert "too many others" in read.text
        assert read.headers["content-type"].startswith("text/html")


def test_the_same_is_drawn_once_for_all_who_ask(page: Page) -> None:
    assert page.becomes_idle()
    asked = [get(f"/where/{page.photo}?q=a+herd+of+zebras", "Connection: close\r\n") for _ in range(30)]
    before = page.cpu()
    answers = []
    with clients(page, asked) as opened:
        for connection in opened:
            answer = b""
            while part := connection.recv(2**16):
                answer += part
            answers.append(answer.partition(b"\r\n\r\n")[2])
    for_all = page.cpu() - before
    assert len(set(answers)) == 1
    assert answers[0].startswith(b"\x89PNG")
    before = page.cpu()
    assert httpx.get(f"{page.address}/where/{page.photo}", params={"q": "one other"}, timeout=60).status_code == 200
    assert for_all < 3 * (page.cpu() - before)


def test_bodies_that_wait_are_bounded_together(page: Page) -> None:
    """Seven clients send nearly as much as is taken, and nobody ends: who finds no room waits for it, then is told."""
    half = MAX_BODY_BYTES - 2**20
    heads = [f"POST /results HTTP/1.1\r\nHost: localhost\r\nContent-Length: {half}\r\n\r\n".encode()] * 7
    with clients(page, heads) as opened:
        page.forget_peak()
        before, answers = page.memory("VmRSS"), []
        for connection in opened:
            with suppress(OSError):  # it was refused before all of it was sent
                connection.sendall(bytes(half - 1))
        for connection in opened:
            connection.settimeout(3)
            with suppress(OSError):  # what it sends is held
                answers.append(connection.recv(2**16))
        fits = ServerSettings().max_held_bytes // half
        assert sum(answer.startswith(b"HTTP/1.1 503") for answer in answers) in (7 - fits, 6 - fits)
        assert page.memory("VmHWM") - before < BYTES_PER_BYTE * 7 * half
        assert page.search() < 10


def test_memory_comes_back(page: Page) -> None:
    def settled() -> int:
        page.search()
        assert page.becomes_idle()
        return page.memory("VmRSS")

    body = playground_of([LARGEST])
    sent(page, "POST", "/playground", ("", b""), body)
    first = settled()
    for _ in range(2):
        assert sent(page, "POST", "/playground", ("", b""), body)[0] == 200
    assert settled() < 1.1 * first
