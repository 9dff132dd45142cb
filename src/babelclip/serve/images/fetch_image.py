"""The one way in which the server reads an image that a client names by URL.

A URL from a client is a request that the client lets *us* make, from inside our network. So its name is resolved
once, every address that the name has is checked, and the connection goes to one of those very addresses: nothing asks
the resolver a second time, which could answer differently (DNS rebinding). The name serves only for the ``Host``
header, for SNI and for the certificate. Every redirect goes the same way from the start. No proxy is taken from the
environment, no cookie is kept, no credential is sent, and nothing is decompressed or decoded here.

Chosen: asyncio's streams for the socket and TLS, h11 (which uvicorn uses too) for HTTP. ``asyncio.open_connection``
takes the address and, apart from it, the name to check the certificate against, which is all that pinning needs. An
HTTP client would come with a pool, proxies, cookies, decompression and a URL parser of its own, each to be turned off
and kept off; with ``httpx-secure`` on top the ports, sizes and total time would still be checked here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import h11

from babelclip.errors import ConfigError
from babelclip.serve.images.addresses import refusal
from babelclip.serve.images.image_url import Reason, Target, UrlRefused, follow, is_address, read_authority, read_url
from babelclip.version import __version__

__all__ = ["FetchPolicy", "ImageFetcher", "Reason", "UrlRefused", "resolve_by_system"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # (name, port) -> the addresses of the name

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_ADDRESSES = 4  # of those that a name has, this many are tried
_MOST_INTERIM_ANSWERS = 8  # 103 Early Hints and the like
_MOST_HEAD_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
# A body in tiny chunks costs us far more time to put together than it costs to send.
_FREE_PIECES, _LEAST_PIECE_BYTES = 1000, 64


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """What may be fetched, and how much of it. By default nothing is."""

    enabled: bool = False
    # "HOST" or "HOST:PORT". Such a host may have a private address and may use http; a port that is not in ``ports``
    # only where the entry names it. An allowed host is trusted: its addresses are not checked.
    allow: tuple[str, ...] = ()
    allow_http: bool = False  # from hosts that are not in ``allow``, too
    ports: tuple[int, ...] = (80, 443)
    max_bytes: int = 10 * 2**20  # of the image file; 10 MiB
    max_redirects: int = 3
    connect_seconds: float = 3.0  # to resolve the name, and to connect to one of its addresses, TLS included
    total_seconds: float = 8.0  # for everything, redirects included
    patience_seconds: float = 2.0  # a body may pause so long ...
    least_bytes_a_second: int = 1024  # ... beyond what it would need at this speed

    def __post_init__(self) -> None:
        if not isinstance(self.allow, tuple) or "" in self.allow:
            raise ConfigError(f"allow: expected a tuple of 'HOST' or 'HOST:PORT', found {self.allow!r}")
        for entry in self.allow:
            _read_entry(entry)
        if min(self.max_bytes, self.least_bytes_a_second) < 1 or self.max_redirects < 0:
            raise ConfigError(f"byte limits must be at least 1 and max_redirects at least 0, found {self}")
        if not all(1 <= port <= 65535 for port in self.ports):
            raise ConfigError(f"ports must be from 1 to 65535, found {self.ports}")
        if not all(seconds > 0 for seconds in (self.connect_seconds, self.total_seconds, self.patience_seconds)):
            raise ConfigError(f"times must be more than 0 seconds, found {self}")


def _read_entry(entry: str) -> tuple[str, int | None]:
    """One entry of ``FetchPolicy.allow``, spelt as in a ``Target``. A bare IPv6 address is a host without a port."""
    try:
        return read_authority(f"[{entry}]" if entry.count(":") > 1 and "[" not in entry else entry)
    except UrlRefused as error:
        raise ConfigError(f"allow: expected HOST or HOST:PORT, found {entry!r}: {error.why}") from error


# Threads of their own: a name whose servers stay silent holds one for up to half a minute, long after the fetch was
# given up. It must not be one of the few that asyncio shares out for everything else.
_RESOLVERS = ThreadPoolExecutor(16, thread_name_prefix="resolve-image-host")


async def resolve_by_system(host: str, port: int) -> list[str]:
    """All addresses of a name, in the order in which the system would try them."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    answers = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, look_up)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class ImageFetcher:
    """Fetches images under one policy. It keeps nothing between two calls and may be shared by all requests."""

    def __init__(
        self, policy: FetchPolicy, *, resolve: Resolve = resolve_by_system, tls: ssl.SSLContext | None = None
    ) -> None:
        """``resolve`` and ``tls`` stand in for the system's resolver and its certificate authorities."""
        self._policy = policy
        self._allow = frozenset(_read_entry(entry) for entry in policy.allow)
        self._resolve = resolve
        self._tls = ssl.create_default_context() if tls is None else tls

    async def fetch(self, url: str) -> bytes:
        """The bytes at ``url``, whatever they are.

        Raises:
            UrlRefused: it is not fetched, or gives no bytes.
        """
        if not self._policy.enabled:
            raise UrlRefused("disabled", "this server fetches none: send the image itself, in base64 or as a data URI")
        try:
            async with asyncio.timeout(self._policy.total_seconds):
                return await self._visit_all(read_url(url))
        except TimeoutError:
            raise UrlRefused("timeout", f"it was not read within {self._policy.total_seconds:g} seconds") from None

    async def _visit_all(self, target: Target) -> bytes:
        """Ask for ``target`` and go where its redirects lead."""
        for redirects in range(self._policy.max_redirects + 1):
            try:
                answer = await self._visit(target)
            except UrlRefused as error:
                if not redirects:
                    raise
                raise UrlRefused(error.reason, f"after {redirects} redirect(s): {error.why}") from error
            if isinstance(answer, bytes):
                return answer
            target = answer
        raise UrlRefused("redirect", f"more than {self._policy.max_redirects} redirects")

    async def _visit(self, target: Target) -> bytes | Target:
        """One request, checked from the start: the body, or the place that a redirect names."""
        addresses = await self._checked_addresses(target)
        reader, writer = await self._connect(target, addresses)
        try:
            return await _exchange(target, reader, writer, self._policy)
        except TimeoutError:  # an OSError too
            raise
        except (OSError, h11.ProtocolError):  # not as the cause: they may quote the answer
            raise UrlRefused("broken", "the answer of its host is no valid HTTP, or was cut short") from None
        finally:
            writer.transport.abort()  # no farewell: a server could make us wait for its own

    async def _checked_addresses(self, target: Target) -> Sequence[str]:
        """The addresses to connect to. Whether there may be any is decided here and nowhere else."""
        trusted = not self._allow.isdisjoint({(target.host, None), (target.host, target.port)})
        if target.scheme != "https" and not (trusted or self._policy.allow_http):
            raise UrlRefused("scheme", "only https:// is fetched here")
        if target.port not in self._policy.ports and (target.host, target.port) not in self._allow:
            raise UrlRefused("port", f"only ports {', '.join(map(str, self._policy.ports))} are open to image URLs")
        addresses = [target.host] if is_address(target.host) else await self._look_up(target)
        for reason in [] if trusted else map(refusal, addresses):
            if reason is not None:
                raise UrlRefused("address", f"its host is at {reason}; only public addresses are fetched from")
        return addresses

    async def _look_up(self, target: Target) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._policy.connect_seconds):
                addresses = await self._resolve(target.host, target.port)
        except TimeoutError:
            raise UrlRefused("timeout", "the address of its host was not found in time") from None
        except (OSError, UnicodeError) as error:
            raise UrlRefused("dns", "its host has no address") from error
        if not addresses:
            raise UrlRefused("dns", "its host has no address")
        return addresses

    async def _connect(
        self, target: Target, addresses: Sequence[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to one of ``addresses``; the first that accepts one."""
        secure = target.scheme == "https"
        slow = False
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                async with asyncio.timeout(self._policy.connect_seconds):
                    return await asyncio.open_connection(
                        address,
                        target.port,
                        ssl=self._tls if secure else None,
                        server_hostname=target.host if secure else None,
                    )
            except TimeoutError:
                slow = True
            except ssl.SSLCertVerificationError as error:
                raise UrlRefused(
                    "tls", "the certificate of its host is not valid for this name, time or authority"
                ) from error
            except ssl.SSLError as error:
                raise UrlRefused("tls", "its host does not speak TLS as it should") from error
            except OSError:  # the next address, then
                continue
        if slow:
            raise UrlRefused("timeout", "its host did not accept a connection in time")
        raise UrlRefused("connect", "its host does not accept connections")


async def _exchange(
    target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, policy: FetchPolicy
) -> bytes | Target:
    """Ask for ``target`` over a fresh connection and read the answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD_BYTES)
    headers = [
        ("Host", target.authority),
        ("User-Agent", f"babelclip/{__version__}"),
        ("Accept", "image/*,*/*;q=0.5"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    writer.write(connection.send(h11.Request(method="GET", target=target.resource, headers=headers)) or b"")
    connection.send(h11.EndOfMessage())
    head = await _read_head(connection, reader)
    if head.status_code in _REDIRECTS:
        return follow(target, _location(head))
    _check_head(head, policy)
    return await _read_body(connection, reader, policy)


async def _read_head(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    for _ in range(_MOST_INTERIM_ANSWERS + 1):
        event = await _next_event(connection, reader)
        if isinstance(event, h11.Response):
            return event
    raise UrlRefused("broken", "its host sends interim answers only")


def _location(head: h11.Response) -> str:
    try:
        (location,) = _values(head, b"location")
        return location.decode("utf-8")
    except ValueError:
        raise UrlRefused("redirect", "its host redirects to no place, to several, or to one in no UTF-8") from None


def _check_head(head: h11.Response, policy: FetchPolicy) -> None:
    """Refuse what need not be read."""
    if head.status_code != 200:
        raise UrlRefused("status", f"its host answers {head.status_code}, not 200")
    if any(value.lower() not in (b"", b"identity") for value in _values(head, b"content-encoding")):
        raise UrlRefused("encoding", "its host compresses the answer, though not asked to")
    for length in _values(head, b"content-length"):
        _check_size(int(length), policy)


async def _read_body(connection: h11.Connection, reader: asyncio.StreamReader, policy: FetchPolicy) -> bytes:
    body = bytearray()
    pieces = 0
    patience_ends = asyncio.get_running_loop().time() + policy.patience_seconds
    try:
        async with asyncio.timeout_at(patience_ends) as deadline:
            while isinstance(event := await _next_event(connection, reader), h11.Data):
                body += event.data
                pieces += 1
                _check_size(len(body), policy)
                if pieces > _FREE_PIECES + len(body) // _LEAST_PIECE_BYTES:
                    raise UrlRefused("broken", "it comes in too many small pieces")
                deadline.reschedule(patience_ends + len(body) / policy.least_bytes_a_second)
    except TimeoutError:
        raise UrlRefused("timeout", f"it comes at less than {policy.least_bytes_a_second:,} bytes a second") from None
    return bytes(body)


async def _next_event(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_READ_BYTES))
    return event


def _values(head: h11.Response, name: bytes) -> list[bytes]:
    """What the header ``name`` says, as often as it stands there."""
    return [value for key, value in head.headers if key == name]


def _check_size(count: int, policy: FetchPolicy) -> None:
    if count > policy.max_bytes:
        raise UrlRefused("too_large", f"it has more than {policy.max_bytes:,} bytes (FetchPolicy.max_bytes)")
