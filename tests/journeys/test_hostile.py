"""What strangers send to a server that fetches URLs: nothing inside is reached, nothing bursts, it still answers."""

from __future__ import annotations

import base64
import io
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import babelclip

sys.path.insert(0, str(Path(__file__).parent))
from serving import MODEL, peak_megabytes, server, worker_of

pytestmark = pytest.mark.stress
MAX_MEGABYTES = 900
"""Of one process. At rest they have about 200 and 350; two pictures of the limit's size are decoded at once, and each
takes some 200 with what Pillow needs beside it."""


class Site(ThreadingHTTPServer):
    """A host on this machine, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        name, _, rest = self.path[1:].partition("/")
        if name == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif name == "drip":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(600):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            except OSError:
                pass  # they have gone, as they should
        elif name == "zip":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(zlib.compress(bytes(50_000_000), wbits=31))
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                pass
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PICTURES["PNG"])

    def log_message(self, *arguments: object) -> None: ...


def pictures() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF"):
        file = io.BytesIO()
        Image.fromarray(noise).resize((200, 160)).save(file, kind)
        found[kind] = file.getvalue()
    return found


PICTURES = pictures()


@pytest.fixture(scope="module")
def inside() -> Iterator[Site]:
    """What must not be reached."""
    with Site() as site:
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def outside() -> Iterator[Site]:
    """A host that the operator allows, and that is not well-meaning."""
    with Site() as site:
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def running(outside: Site) -> Iterator[tuple[int, int, httpx.Client]]:
    """Process ids of the front and its worker, and a client."""
    with server("--fetch-urls", "--fetch-allow", f"127.0.0.1:{outside.server_port}") as (process, client):
        yield process.pid, worker_of(process), client


@pytest.fixture(autouse=True)
def still_well(running: tuple[int, int, httpx.Client]) -> Iterator[None]:
    """After every test the server answers, rightly, and has not grown."""
    yield
    front, worker, client = running
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": "a dog"})
    assert np.allclose(answer.json()["data"][0]["embedding"], babelclip.load().encode_text("a dog"), atol=1e-4)
    assert peak_megabytes(front) < MAX_MEGABYTES
    assert peak_megabytes(worker) < MAX_MEGABYTES
    assert client.get("/health").status_code == 200


def results(client: httpx.Client, items: list[object]) -> list[dict[str, str]]:
    body = {"model": MODEL, "input": items}
    answer = client.post("/v1/embeddings?on_error=item", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, str]] = answer.json()["data"]
    assert len(data) == len(items)
    return data


def sent(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


HOSTS = [
    "127.0.0.1", "localhost", "127.1", "0.0.0.0", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.0.0.1.",
    "localhost.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::80ff:fffe]", "[fe80::1]", "[fec0::1]", "[fc00::1]",
    "[ff02::1]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "[fd00:ec2::254]",
    "100.100.100.200", "192.0.0.8", "192.88.99.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "224.0.0.1",
    "user@127.0.0.1", "user:pass@127.0.0.1", "127.0.0.1\\@example.org", "①②⑦.0.0.1", "127。0。0。1", "[::1%25lo]",
]  # fmt: skip


def test_no_form_of_an_inner_address_is_reached(running: tuple[int, int, httpx.Client], inside: Site) -> None:
    client = running[2]
    urls = [
        f"{scheme}://{host}{port}/x.png"
        for host in HOSTS
        for scheme in ("http", "https")
        for port in ("", f":{inside.server_port}", ":80")
    ]
    urls += [f"{scheme}://127.0.0.1/etc/passwd" for scheme in ("file", "ftp", "gopher", "dict", "data", "jar:http")]
    started = time.monotonic()
    found = results(client, [{"url": url} for url in urls])
    assert {each["object"] for each in found} == {"error"}
    assert {each["code"] for each in found} == {"INPUT_INVALID", "VALIDATION_ERROR"}
    assert inside.asked == []
    assert time.monotonic() - started < 60


def test_an_allowed_host_cannot_lead_further(
    running: tuple[int, int, httpx.Client], inside: Site, outside: Site
) -> None:
    client, base = running[2], f"http://127.0.0.1:{outside.server_port}"
    (good,) = results(client, [{"url": f"{base}/picture.png"}])
    assert good["object"] == "embedding"
    targets = [
        f"http://127.0.0.1:{inside.server_port}/", "http://169.254.169.254/latest", "file:///etc/passwd",
        f"http://localhost:{outside.server_port}/", "https://[::1]/", "//127.0.0.1/",
        f"{base}/to/{base}/to/{base}/to/{base}/to/{base}/picture.png",
    ]  # fmt: skip
    found = results(client, [{"url": f"{base}/to/{target}"} for target in targets])
    assert [each["object"] for each in found] == ["error"] * len(targets)
    assert inside.asked == []


@pytest.mark.parametrize("page", ["drip", "zip", "endless"])
def test_answers_that_do_not_end_are_ended(running: tuple[int, int, httpx.Client], outside: Site, page: str) -> None:
    started = time.monotonic()
    found = results(running[2], [{"url": f"http://127.0.0.1:{outside.server_port}/{page}"}] * 4)
    assert {each["object"] for each in found} == {"error"}
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/embeddings HTTP/1.1\r\nHost: ", b"GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /li"]
)
def test_a_head_that_does_not_come_is_not_waited_for(running: tuple[int, int, httpx.Client], sent: bytes) -> None:
    address = running[2].base_url
    assert address.port is not None
    with socket.create_connection((address.host, address.port), timeout=20) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        while connection.recv(4096):
            pass  # the answer to what was whole
        assert 3 < time.monotonic() - started < 15


def png_of(width: int, height: int) -> bytes:
    """A PNG that is small on the wire: one bit a pixel, all zero."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    row = bytes(width // 8 + 2)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def gif_of(width: int, height: int) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def webp_of(width: int, height: int) -> bytes:
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(20)
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def jpeg_of(width: int, height: int) -> bytes:
    components = bytes([3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1])
    frame = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width) + components
    scan = b"\xff\xda" + struct.pack(">H", 12) + bytes([3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0])
    return b"\xff\xd8" + frame + scan + bytes(64) + b"\xff\xd9"


BOMBS = {
    "png": lambda: png_of(40_000, 40_000),
    "png of 8 thousand": lambda: png_of(8_000, 8_000),
    "jpeg": lambda: jpeg_of(65_500, 65_500),
    "gif": lambda: gif_of(65_535, 65_535),
    "webp": lambda: webp_of(16_383, 16_383),
}


@pytest.mark.parametrize("kind", list(BOMBS))
def test_a_bomb_does_not_go_off(running: tuple[int, int, httpx.Client], kind: str) -> None:
    started = time.monotonic()
    found = results(running[2], [sent(BOMBS[kind]())] * 3)
    assert {each["object"] for each in found} == {"error"}
    assert all("pixels" in each["detail"] for each in found), found[0]
    assert time.monotonic() - started < 20


def test_pictures_up_to_the_limit_are_decoded_a_few_at_a_time(running: tuple[int, int, httpx.Client]) -> None:
    found = results(running[2], [sent(png_of(6_000, 8_000))] * 6)
    assert {each["object"] for each in found} == {"embedding"}


def test_200_damaged_pictures_fail_alone_or_not_at_all(running: tuple[int, int, httpx.Client]) -> None:
    chance = random.Random(0)
    items: list[object] = []
    for number in range(200):
        content = bytearray(list(PICTURES.values())[number % len(PICTURES)])
        if number % 3 == 0:
            del content[chance.randrange(1, len(content)) :]
        else:
            for _ in range(chance.randrange(1, 30)):
                content[chance.randrange(len(content))] = chance.randrange(256)
        items.append(sent(bytes(content)))
    good = sent(PICTURES["PNG"])
    found = results(running[2], [good, *items, good])
    assert found[0]["embedding"] == pytest.approx(found[-1]["embedding"], abs=1e-6)
    wanted = babelclip.load().encode_image(PICTURES["PNG"])
    assert np.allclose(found[0]["embedding"], wanted, atol=1e-4)  # type: ignore[arg-type]
    errors = [each for each in found if each["object"] == "error"]
    assert 60 < len(errors) < 200
    assert {each["code"] for each in errors} == {"INPUT_INVALID"}
    assert not any("0x" in each["detail"] or "Traceback" in each["detail"] for each in errors)
