"""httpcore's way to the network, but one that connects to addresses which were checked and to no others.

A name is resolved once, every address that it has is checked, and the connection goes to one of those very addresses:
nothing asks the resolver a second time, which could answer differently (DNS rebinding). The name serves only for the
``Host`` header, for SNI and for the certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpcore

from babelclip.serve.images.addresses import refusal
from babelclip.serve.images.image_url import UrlRefused, is_address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # (name, port) -> the addresses of the name
IsTrusted = Callable[[str, int], bool]  # (host, port) -> whether its addresses are not checked

MAX_ADDRESSES = 4  # of those that a name has, this many are tried
MAX_HEAD_BYTES = 64 * 1024  # of an answer, with all interim answers (103 Early Hints and the like) before it


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Where every connection of the fetcher is opened."""

    def __init__(
        self, resolve: Resolve, is_trusted: IsTrusted, seconds: float, network: httpcore.AsyncNetworkBackend
    ) -> None:
        """Connect to nothing yet.

        Args:
            seconds: to resolve a name, to connect to an address and to speak TLS, each.
            network: opens the connections to addresses.
        """
        self._resolve, self._is_trusted, self._seconds, self._network = resolve, is_trusted, seconds, network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of the host that accepts one.

        Raises:
            UrlRefused: the host has no address, one that is not public, or none that accepts a connection.
        """
        slow = False
        for address in (await self._checked_addresses(host, port))[:MAX_ADDRESSES]:
            try:
                stream = await self._network.connect_tcp(address, port, timeout=self._seconds)
            except httpcore.ConnectTimeout:
                slow = True
            except httpcore.ConnectError:  # the next address, then
                continue
            else:
                return CheckedStream(stream, self._seconds)
        if slow:
            raise UrlRefused("timeout", "its host did not accept a connection in time")
        raise UrlRefused("connect", "its host does not accept connections")

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses to connect to. Which may be is decided here and nowhere else."""
        addresses = [host] if is_address(host) else await self._look_up(host, port)
        for reason in [] if self._is_trusted(host, port) else map(refusal, addresses):
            if reason is not None:
                raise UrlRefused("address", f"its host is at {reason}; only public addresses are fetched from")
        return addresses

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._seconds):
                addresses = await self._resolve(host, port)
        except TimeoutError:
            raise UrlRefused("timeout", "the address of its host was not found in time") from None
        except (OSError, UnicodeError) as error:
            raise UrlRefused("dns", "its host has no address") from error
        if not addresses:
            raise UrlRefused("dns", "its host has no address")
        return addresses


class CheckedStream(httpcore.AsyncNetworkStream):
    """A connection whose answer's head has a limit, and whose TLS says what is wrong with it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, seconds: float) -> None:
        self._stream, self._seconds = stream, seconds
        self._head_bytes: int | None = 0  # None: the head is read

    def head_is_read(self) -> None:
        """What comes now is the body, which the reader limits."""
        self._head_bytes = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As ``httpcore.AsyncNetworkStream``.

        Raises:
            UrlRefused: the head does not end.
        """
        if self._head_bytes is not None and self._head_bytes >= MAX_HEAD_BYTES:
            raise UrlRefused("broken", f"its host sends more than {MAX_HEAD_BYTES:,} bytes before the image")
        data = await self._stream.read(max_bytes, timeout)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As ``httpcore.AsyncNetworkStream``."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """As ``httpcore.AsyncNetworkStream``."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """As ``httpcore.AsyncNetworkStream``.

        Raises:
            UrlRefused: the host speaks no TLS, or not with a certificate for its name.
        """
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, self._seconds)
        except httpcore.ConnectTimeout:
            raise UrlRefused("timeout", "its host did not accept a connection in time") from None
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                why = "the certificate of its host is not valid for this name, time or authority"
            else:
                why = "its host does not speak TLS as it should"
            raise UrlRefused("tls", why) from error
        except BaseException:  # a fetch that was given up must not leave the connection open
            await self._stream.aclose()
            raise
        return CheckedStream(stream, self._seconds)

    def get_extra_info(self, info: str) -> Any:
        """As ``httpcore.AsyncNetworkStream``."""
        return self._stream.get_extra_info(info)
