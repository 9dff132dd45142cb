"""A name server that answers public for the check and private for the connection (DNS rebinding), asked over UDP."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Sequence
from typing import Any

import httpcore
import pytest

from babelclip.serve.images.fetch_image import FetchPolicy, ImageFetcher, Resolve, UrlRefused

PUBLIC, PRIVATE = "1.1.1.1", "127.0.0.1"
PHOTO = b"a photo"


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an address with the next of a list, to be kept for no time at all."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses, self.asked = list(addresses), 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, question: bytes, sender: Any) -> None:
        address = self.addresses[min(self.asked, len(self.addresses) - 1)]
        self.asked += 1
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + ipaddress.ip_address(address).packed
        self.transport.sendto(head + question[12:] + record, sender)


class Asking(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, answer: bytes, sender: Any) -> None:
        self.answer.set_result(answer)


def resolver(port: int) -> Resolve:
    """Asks that name server."""

    async def resolve(host: str, _: int) -> list[str]:
        name = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
        question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
        loop = asyncio.get_running_loop()
        transport, asking = await loop.create_datagram_endpoint(Asking, remote_addr=("127.0.0.1", port))
        transport.sendto(question)
        answer = await asking.answer
        transport.close()
        return [str(ipaddress.ip_address(answer[-4:]))]

    return resolve


class Network(httpcore.AnyIOBackend):
    """Leads all connections to a site of this machine, and notes where they wanted to go."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wanted: list[str] = []

    async def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        self.wanted.append(host)
        return await super().connect_tcp("127.0.0.1", self.port, *rest, **options)


@pytest.mark.parametrize(
    ("addresses", "path", "reached", "asked"),
    [
        ([PUBLIC, PRIVATE], "/", [PUBLIC], 1),  # the answer that was checked is the one that is used
        ([PRIVATE, PUBLIC], "/", [], 1),
        ([PUBLIC, PRIVATE], "/again", [PUBLIC], 2),  # a redirect to the same name is checked anew
    ],
)
def test_the_address_that_was_checked_is_the_one_connected_to(
    addresses: list[str], path: str, reached: list[str], asked: int
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /again"):
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + PHOTO)
        await writer.drain()
        writer.close()

    async def scenario() -> tuple[bytes | UrlRefused, list[str], int]:
        loop = asyncio.get_running_loop()
        names, name_server = await loop.create_datagram_endpoint(
            lambda: NameServer(addresses), local_addr=("127.0.0.1", 0)
        )
        site = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with site:
            network = Network(site.sockets[0].getsockname()[1])
            policy = FetchPolicy(enabled=True, allow_http=True)
            resolve = resolver(names.get_extra_info("sockname")[1])
            fetcher = ImageFetcher(policy, resolve=resolve, network=network)
            try:
                found: bytes | UrlRefused = await fetcher.fetch(f"http://photos.example{path}")
            except UrlRefused as error:
                found = error
        names.close()
        return found, network.wanted, name_server.asked

    found, wanted, questions = asyncio.run(scenario())
    assert wanted == reached
    assert questions == asked
    if path == "/" and addresses[0] == PUBLIC:
        assert found == PHOTO
    else:
        assert isinstance(found, UrlRefused)
        assert found.reason == "address"
