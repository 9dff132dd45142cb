"""The one way in which the server reads an image that a client names by URL.

A URL from a client is a request that the client lets *us* make, from inside our network. So a URL is read once and
strictly (``image_url``), a connection goes to an address that was checked and to no other (``checked_network``), and
every redirect goes the same way from the start. No proxy is taken from the environment, no cookie is kept, no
credential is sent, and nothing is decompressed or decoded here.

httpcore speaks HTTP, over a network of ours. Not httpx above it: its client brings cookies, proxies, decompression and
a second reading of the URL, each to be turned off and kept off. The limits of bytes and of speed are ours because
httpcore has none: its timeouts begin anew with every byte.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import cast

import httpcore

from babelclip.errors import ConfigError
from babelclip.serve.images.checked_network import CheckedNetwork, CheckedStream, Resolve
from babelclip.serve.images.image_url import FetchTarget, Reason, UrlRefused, follow, read_authority, read_url
from babelclip.version import __version__

__all__ = ["FetchPolicy", "ImageFetcher", "Reason", "Resolve", "UrlRefused", "resolve_by_system"]

_REDIRECTS = (301, 302, 303, 307, 308)
# A body in tiny chunks costs us far more time to put together than it costs to send.
_FREE_PIECES, _MIN_PIECE_BYTES = 1000, 64


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
    at_once: int = 8  # images of one request; the rest wait for these
    max_redirects: int = 3
    connect_seconds: float = 3.0  # to resolve the name, to connect to one of its addresses, and for TLS, each
    total_seconds: float = 8.0  # for everything, redirects included
    patience_seconds: float = 2.0  # a body may pause so long ...
    least_bytes_a_second: int = 1024  # ... beyond what it would need at this speed

    def __post_init__(self) -> None:
        if not isinstance(self.allow, tuple) or "" in self.allow:
            raise ConfigError(f"allow: expected a tuple of 'HOST' or 'HOST:PORT', found {self.allow!r}")
        for entry in self.allow:
            _read_entry(entry)
        if min(self.max_bytes, self.least_bytes_a_second, self.at_once) < 1 or self.max_redirects < 0:
            raise ConfigError(f"limits must be at least 1 and max_redirects at least 0, found {self}")
        if not all(1 <= port <= 65535 for port in self.ports):
            raise ConfigError(f"ports must be from 1 to 65535, found {self.ports}")
        if not all(seconds > 0 for seconds in (self.connect_seconds, self.total_seconds, self.patience_seconds)):
            raise ConfigError(f"times must be more than 0 seconds, found {self}")


def _read_entry(entry: str) -> tuple[str, int | None]:
    """One entry of ``FetchPolicy.allow``, spelled as in a ``FetchTarget``. A bare IPv6 address has no port."""
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
        self,
        policy: FetchPolicy,
        *,
        resolve: Resolve = resolve_by_system,
        tls: ssl.SSLContext | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Fetch by a policy; the rest is for tests.

        Args:
            resolve: stands in for the system's resolver.
            tls: stands in for the system's certificate authorities.
            network: stands in for connections to addresses.
        """
        self.policy = policy
        self._allow = frozenset(_read_entry(entry) for entry in policy.allow)
        self._tls = ssl.create_default_context() if tls is None else tls
        network = httpcore.AnyIOBackend() if network is None else network
        self._network = CheckedNetwork(resolve, self._is_trusted, policy.connect_seconds, network)

    async def fetch(self, url: str) -> bytes:
        """The bytes at a URL, whatever they are.

        Raises:
            UrlRefused: it is not fetched, or could not be; the reason is a code.
        """
        if not self.policy.enabled:
            raise UrlRefused("disabled", "this server fetches none: send the image itself, in base64 or as a data URI")
        try:
            async with asyncio.timeout(self.policy.total_seconds):
                return await self._visit_all(read_url(url))
        except TimeoutError:
            raise UrlRefused("timeout", f"it was not read within {self.policy.total_seconds:g} seconds") from None

    def _is_trusted(self, host: str, port: int) -> bool:
        return not self._allow.isdisjoint({(host, None), (host, port)})

    async def _visit_all(self, target: FetchTarget) -> bytes:
        """Ask for ``target`` and go where its redirects lead."""
        for redirects in range(self.policy.max_redirects + 1):
            try:
                answer = await self._visit(target)
            except UrlRefused as error:
                if not redirects:
                    raise
                raise UrlRefused(error.reason, f"after {redirects} redirect(s): {error.why}") from error
            if isinstance(answer, bytes):
                return answer
            target = answer
        raise UrlRefused("redirect", f"more than {self.policy.max_redirects} redirects")

    async def _visit(self, target: FetchTarget) -> bytes | FetchTarget:
        """One request, checked from the start: the body, or the place that a redirect names."""
        self._check_target(target)
        request = _request(target)
        connection = httpcore.AsyncHTTPConnection(
            request.url.origin, ssl_context=self._tls, network_backend=self._network
        )
        try:
            return await self._exchange(connection, request, target)
        except (httpcore.ProtocolError, httpcore.NetworkError):  # not as the cause: they may quote the answer
            raise UrlRefused("broken", "the answer of its host is no valid HTTP, or was cut short") from None
        finally:
            await connection.aclose()

    def _check_target(self, target: FetchTarget) -> None:
        if target.scheme != "https" and not (self.policy.allow_http or self._is_trusted(target.host, target.port)):
            raise UrlRefused("scheme", "only https:// is fetched here")
        if target.port not in self.policy.ports and (target.host, target.port) not in self._allow:
            raise UrlRefused("port", f"only ports {', '.join(map(str, self.policy.ports))} are open to image URLs")

    async def _exchange(
        self, connection: httpcore.AsyncHTTPConnection, request: httpcore.Request, target: FetchTarget
    ) -> bytes | FetchTarget:
        """Ask over a fresh connection and read the answer."""
        response = await connection.handle_async_request(request)
        if response.status in _REDIRECTS:
            return follow(target, _location(response))
        _check_head(response, self.policy)
        cast("CheckedStream", response.extensions["network_stream"]).head_is_read()
        return await _read_body(response, self.policy)


def _request(target: FetchTarget) -> httpcore.Request:
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.resource.encode()
    )
    headers = [
        ("Host", target.authority),
        ("User-Agent", f"babelclip/{__version__}"),
        ("Accept", "image/*,*/*;q=0.5"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    return httpcore.Request("GET", url, headers=headers)


def _location(response: httpcore.Response) -> str:
    try:
        (location,) = _values(response, b"location")
        return location.decode("utf-8")
    except ValueError:
        raise UrlRefused("redirect", "its host redirects to no place, to several, or to one in no UTF-8") from None


def _check_head(response: httpcore.Response, policy: FetchPolicy) -> None:
    """Refuse what need not be read."""
    if response.status < 200:
        raise UrlRefused("broken", "its host wants to speak another protocol")
    if response.status != 200:
        raise UrlRefused("status", f"its host answers {response.status}, not 200")
    if any(value.lower() not in (b"", b"identity") for value in _values(response, b"content-encoding")):
        raise UrlRefused("encoding", "its host compresses the answer, though not asked to")
    for length in _values(response, b"content-length"):
        _check_size(int(length), policy)


async def _read_body(response: httpcore.Response, policy: FetchPolicy) -> bytes:
    body = bytearray()
    pieces = 0
    patience_ends = asyncio.get_running_loop().time() + policy.patience_seconds
    content = cast("AsyncGenerator[bytes, None]", aiter(response.stream))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout_at(patience_ends) as deadline, aclosing(content):
            async for piece in content:
                body += piece
                pieces += 1
                _check_size(len(body), policy)
                if pieces > _FREE_PIECES + len(body) // _MIN_PIECE_BYTES:
                    raise UrlRefused("broken", "it comes in too many small pieces")
                deadline.reschedule(patience_ends + len(body) / policy.least_bytes_a_second)
    except TimeoutError:
        raise UrlRefused("timeout", f"it comes at less than {policy.least_bytes_a_second:,} bytes a second") from None
    return bytes(body)


def _values(response: httpcore.Response, name: bytes) -> list[bytes]:
    """What a header says, as often as it stands there."""
    return [value for key, value in response.headers if key.lower() == name]


def _check_size(count: int, policy: FetchPolicy) -> None:
    if count > policy.max_bytes:
        raise UrlRefused("too_large", f"it has more than {policy.max_bytes:,} bytes (FetchPolicy.max_bytes)")
