"""The fetcher against real servers on this machine: what it reads, and everything that it must not."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from time import monotonic
from typing import Any

import httpcore
import pytest
import trustme

from babelclip.errors import ConfigError, ImageError, InputError
from babelclip.serve.images.fetch_image import FetchPolicy, ImageFetcher, UrlRefused, resolve_by_system

from .image_site import PHOTO, Answer, Site, ok, online


def redirect(location: str, status: str = "302 Found") -> bytes:
    return ok(b"", f"Location: {location}", status=status)


def fetch_from(site: Site, path: str = "/", *, tls: ssl.SSLContext | None = None, **policy: Any) -> bytes:
    """Fetch from a site that the policy allows."""

    async def scenario() -> bytes:
        async with online(site):
            allowed = FetchPolicy(enabled=True, allow=(f"127.0.0.1:{site.port}",), **policy)
            return await ImageFetcher(allowed).fetch(site.url(path))

    return asyncio.run(scenario())


def refused(scenario: Coroutine[Any, Any, Any]) -> UrlRefused:
    with pytest.raises(UrlRefused) as caught:
        asyncio.run(scenario)
    return caught.value


def why_not(site: Site, path: str = "/", **policy: Any) -> UrlRefused:
    with pytest.raises(UrlRefused) as caught:
        fetch_from(site, path, **policy)
    return caught.value


def answers(*lists: Sequence[str]) -> tuple[Callable[[str, int], Awaitable[Sequence[str]]], list[tuple[str, int]]]:
    """A resolver that gives one list after the other, and the record of what it was asked."""
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return lists[min(len(asked), len(lists)) - 1]

    return resolve, asked


class Network(httpcore.AnyIOBackend):
    """Leads all connections to a site, whatever their address, and notes where they wanted to go."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.wanted: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        self.wanted.append((host, port))
        return await super().connect_tcp("127.0.0.1", self.site.port, *rest, **options)


class NoNetwork(httpcore.AsyncNetworkBackend):
    """Opens no connection, and counts how often it should have."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, 0

    async def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        self.asked += 1
        raise self.error or AssertionError(f"a connection to {host}")


# What is fetched


def test_an_image_is_fetched() -> None:
    site = Site({"/a/b.jpg?x=1": ok(PHOTO)})
    assert fetch_from(site, "/a/b.jpg?x=1#part") == PHOTO
    head = site.requests[0].lower().split("\r\n")
    assert head[0] == "get /a/b.jpg?x=1 http/1.1"
    assert f"host: 127.0.0.1:{site.port}" in head
    assert "accept-encoding: identity" in head
    assert not [line for line in head if line.startswith(("cookie", "authorization", "referer"))]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n3\r\ngra\r\n2\r\nph\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nphotograph",  # its end is the end of the connection
        b"HTTP/1.0 200 OK\r\n\r\nphotograph",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nphotograph",
        ok(b"photograph", "Content-Encoding: identity"),
        ok(b"photograph", "Content-Type: text/html", "Set-Cookie: a=b"),  # what it is, the decoder decides
    ],
)
def test_bodies_of_all_kinds_are_read(answer: bytes) -> None:
    assert fetch_from(Site({"/": answer})) == b"photograph"


def test_a_body_as_large_as_the_limit_is_read() -> None:
    assert fetch_from(Site({"/": ok(b"x" * 200_000)}), max_bytes=200_000) == b"x" * 200_000


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_relative_redirects_are_followed(status: str) -> None:
    site = Site({"/a/b": redirect("c?d#e", status), "/a/c?d": redirect("/f"), "/f": ok(PHOTO)})
    assert fetch_from(site, "/a/b") == PHOTO
    assert site.connections == 3


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> bytes:
        async with online(site), online(proxy):
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url())
            return await ImageFetcher(FetchPolicy(enabled=True, allow=(f"127.0.0.1:{site.port}",))).fetch(site.url())

    site, proxy = Site({"/": ok(PHOTO)}), Site({})
    assert asyncio.run(scenario()) == PHOTO
    assert (site.connections, proxy.connections) == (1, 0)


def test_the_system_resolves_names() -> None:
    assert "127.0.0.1" in asyncio.run(resolve_by_system("127.0.0.1", 443))
    assert refused(ImageFetcher(FetchPolicy(enabled=True)).fetch("https://localhost/")).reason == "address"


# The policy


def test_nothing_is_fetched_by_default() -> None:
    error = refused(ImageFetcher(FetchPolicy()).fetch("https://photos.example/"))
    assert error.reason == "disabled"
    assert isinstance(error, ImageError | InputError | ValueError)
    assert "base64" in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"allow": "photos.example"},
        {"allow": ("",)},
        {"allow": ("https://photos.example",)},
        {"allow": ("photos.example/a",)},
        {"allow": ("photos.example:0",)},
        {"allow": ("10.0.0.0/8",)},
        {"allow": ("*.example",)},
        {"allow": ("0x7f.1",)},
        {"max_bytes": 0},
        {"max_redirects": -1},
        {"least_bytes_a_second": 0},
        {"ports": (0,)},
        {"connect_seconds": 0},
        {"total_seconds": float("nan")},
    ],
)
def test_a_policy_without_sense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FetchPolicy(**options)


@pytest.mark.parametrize(
    ("allow", "url", "reason"),
    [
        ("photos.internal", "http://photos.internal/", "connect"),  # that far: nobody listens
        ("photos.internal", "https://PHOTOS.internal/", "connect"),
        ("Photos.Internal:8080", "http://photos.internal:8080/", "connect"),
        ("photos.internal:8080", "https://photos.internal:8080/", "connect"),
        ("photos.internal:80", "http://photos.internal/", "connect"),
        ("bücher.internal", "http://xn--bcher-kva.internal/", "connect"),
        ("10.0.0.7", "http://10.0.0.7/", "connect"),
        ("::1", "http://[0::1]/", "connect"),
        ("[::1]:8080", "http://[::1]:8080/", "connect"),
        # an entry without a port opens no other ports, one with a port no other than that
        ("photos.internal", "http://photos.internal:8080/", "port"),
        ("photos.internal:8080", "http://photos.internal:8081/", "scheme"),
        ("photos.internal:8080", "https://photos.internal:8081/", "port"),
        ("photos.internal:8080", "http://photos.internal/", "scheme"),
        ("photos.internal:8080", "https://photos.internal/", "address"),
        ("photos.internal", "https://other.internal/", "address"),
        ("photos.internal", "https://a.photos.internal/", "address"),
        ("photos.internal", "https://10.0.0.7/", "address"),  # though that is its address
        ("10.0.0.7", "https://photos.internal/", "address"),
    ],
)
def test_the_list_of_allowed_hosts(allow: str, url: str, reason: str) -> None:
    resolve, _ = answers(["10.0.0.7"])
    policy = FetchPolicy(enabled=True, allow=("unused.internal", allow))
    fetcher = ImageFetcher(policy, resolve=resolve, network=NoNetwork(httpcore.ConnectError()))
    assert refused(fetcher.fetch(url)).reason == reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://photos.example/", "scheme"),
        ("https://photos.example:8443/", "port"),
        ("https://photos.example:22/", "port"),
        ("ftp://photos.example/", "scheme"),
        ("https://me:secret@photos.example/", "bad_url"),
        ("https://2130706433/", "bad_url"),
        ("https://127.0.0.1/", "address"),
        ("https://0.0.0.0/", "address"),
        ("https://[::1]/", "address"),
        ("https://[::ffff:127.0.0.1]/", "address"),
        ("https://[64:ff9b::7f00:1]/", "address"),
        ("https://169.254.169.254/", "address"),
    ],
)
def test_refused_before_anybody_is_asked(url: str, reason: str) -> None:
    resolve, asked = answers(["1.1.1.1"])
    network = NoNetwork()
    fetcher = ImageFetcher(FetchPolicy(enabled=True), resolve=resolve, network=network)
    assert refused(fetcher.fetch(url)).reason == reason
    assert (asked, network.asked) == ([], 0)


# Addresses


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", []),
        ("photos.example", ["127.0.0.1"]),
        ("photos.example", ["::1"]),
        ("photos.example", ["fe80::1%1"]),
        ("photos.example", ["1.1.1.1", "127.0.0.1"]),  # one private address among public ones is one too many
        ("photos.example", ["64:ff9b::7f00:1", "1.1.1.1"]),
    ],
)
def test_a_private_address_is_never_connected_to(host: str, addresses: list[str]) -> None:
    async def scenario() -> None:
        async with online(site):
            policy = FetchPolicy(enabled=True, allow_http=True, ports=(site.port,))
            await ImageFetcher(policy, resolve=answers(addresses)[0]).fetch(site.url(host=host))

    site = Site({"/": ok(PHOTO)})
    error = refused(scenario())
    assert error.reason == "address"
    assert site.connections == 0


def test_a_name_is_resolved_once_and_that_answer_used() -> None:
    """DNS rebinding: public for the check, private for the connection."""

    async def scenario() -> bytes:
        async with online(site):
            policy = FetchPolicy(enabled=True, allow_http=True)
            return await ImageFetcher(policy, resolve=resolve, network=network).fetch("http://photos.example/")

    site = Site({"/": ok(PHOTO)})
    network = Network(site)
    resolve, asked = answers(["1.1.1.1"], ["127.0.0.1"])
    assert asyncio.run(scenario()) == PHOTO
    assert asked == [("photos.example", 80)]
    assert network.wanted == [("1.1.1.1", 80)]
    assert "\r\nHost: photos.example\r\n" in site.requests[0]


def test_a_redirect_to_the_same_name_is_resolved_and_checked_again() -> None:
    async def scenario() -> bytes:
        async with online(site):
            policy = FetchPolicy(enabled=True, allow_http=True)
            return await ImageFetcher(policy, resolve=resolve, network=network).fetch("http://photos.example/")

    site = Site({"/": redirect("/b"), "/b": ok(PHOTO)})
    network = Network(site)
    resolve, asked = answers(["1.1.1.1"], ["127.0.0.1"])
    error = refused(scenario())
    assert error.reason == "address"
    assert "after 1 redirect" in str(error)
    assert len(asked) == 2
    assert network.wanted == [("1.1.1.1", 80)]


def test_the_next_address_is_tried_but_not_all_of_very_many() -> None:
    async def scenario(addresses: list[str]) -> bytes:
        async with online(site):
            policy = FetchPolicy(enabled=True, allow=(f"photos.internal:{site.port}",))
            fetcher = ImageFetcher(policy, resolve=answers(addresses)[0])
            return await fetcher.fetch(site.url(host="photos.internal"))

    site = Site({"/": ok(PHOTO)})
    assert asyncio.run(scenario(["127.0.0.2", "127.0.0.3", "127.0.0.1"])) == PHOTO
    many = [f"127.0.0.{number}" for number in range(2, 100)]
    assert refused(scenario([*many, "127.0.0.1"])).reason == "connect"
    assert site.connections == 1


@pytest.mark.parametrize("failure", [OSError(), UnicodeError(), []])
def test_a_name_without_an_address(failure: Any) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if isinstance(failure, Exception):
            raise failure
        return []

    assert refused(ImageFetcher(FetchPolicy(enabled=True), resolve=resolve).fetch("https://a.example/")).reason == "dns"


# Redirects


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://other.example:{port}/", "//[::1]:{port}/"])
def test_a_redirect_to_a_private_address_is_refused(target: str) -> None:
    async def scenario() -> None:
        async with online(site), online(inside):
            site.pages["/"] = redirect("/next")
            site.pages["/next"] = redirect(target.format(port=inside.port))
            policy = FetchPolicy(enabled=True, allow=(f"127.0.0.1:{site.port}",), allow_http=True, ports=(inside.port,))
            await ImageFetcher(policy, resolve=answers(["127.0.0.1"])[0]).fetch(site.url())

    site, inside = Site({}), Site({"/": ok(PHOTO)})
    error = refused(scenario())
    assert error.reason == "address"
    assert str(inside.port) not in str(error)
    assert (site.connections, inside.connections) == (2, 0)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("Location: http://photos.example/", "scheme"),
        ("Location: https://photos.example:22/", "port"),
        ("Location: file:///etc/passwd", "scheme"),
        ("Location: https://me:secret@photos.example/", "bad_url"),
        ("Location: https://0x7f.1/", "bad_url"),
        ("Location: /a b", "bad_url"),
        ("Location: //[", "bad_url"),
        ("Location: /a\r\nLocation: /b", "redirect"),
        ("X-Location: /a", "redirect"),
    ],
)
def test_a_redirect_that_is_refused(location: str, reason: str) -> None:
    error = why_not(Site({"/": ok(b"", location, status="302 Found")}))
    assert error.reason == reason
    assert "secret" not in str(error)


@pytest.mark.parametrize(("allowed", "visits"), [(0, 1), (3, 4)])
def test_too_many_redirects(allowed: int, visits: int) -> None:
    site = Site({"/": redirect("/")})
    assert why_not(site, max_redirects=allowed).reason == "redirect"
    assert site.connections == visits


def test_as_many_redirects_as_allowed() -> None:
    site = Site({"/": redirect("/1"), "/1": redirect("/2"), "/2": redirect("/3"), "/3": ok(PHOTO)})
    assert fetch_from(site) == PHOTO


# Sizes and times


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def stall(writer: asyncio.StreamWriter) -> None:
    writer.write(ok(PHOTO)[:-1])
    await asyncio.sleep(5)


async def flood(writer: asyncio.StreamWriter) -> None:
    """A body without end and without a length."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 10_000)
        await writer.drain()


@pytest.mark.parametrize("page", [drip, drip_head, stall])
def test_a_slow_answer_is_ended_by_the_total_time(page: Answer) -> None:
    start = monotonic()
    assert why_not(Site({"/": page}), total_seconds=0.3).reason == "timeout"
    assert monotonic() - start < 2


@pytest.mark.parametrize("page", [drip, stall])
def test_a_body_that_trickles_is_ended_sooner(page: Answer) -> None:
    start = monotonic()
    error = why_not(Site({"/": page}), total_seconds=60.0, patience_seconds=0.2, least_bytes_a_second=100_000)
    assert error.reason == "timeout"
    assert "bytes a second" in str(error)
    assert monotonic() - start < 2


def test_redirects_share_the_total_time() -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(redirect("/"))

    start = monotonic()
    assert why_not(Site({"/": slow}), total_seconds=0.3, max_redirects=20).reason == "timeout"
    assert monotonic() - start < 2


def test_a_slow_resolver_is_not_waited_for() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(5)
        return ["1.1.1.1"]

    fetcher = ImageFetcher(FetchPolicy(enabled=True, connect_seconds=0.1), resolve=resolve)
    assert refused(fetcher.fetch("https://photos.example/")).reason == "timeout"


def test_a_host_that_does_not_answer_is_not_waited_for() -> None:
    """A socket whose queue of connections is full, so that nobody answers one more."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        policy = FetchPolicy(enabled=True, allow=(f"127.0.0.1:{port}",), connect_seconds=0.2)
        error = refused(ImageFetcher(policy).fetch(f"http://127.0.0.1:{port}/"))
    assert error.reason == "timeout"
    assert "connection" in str(error)


@pytest.mark.parametrize(
    "page",
    [
        ok(b"", length=100_001),  # refused by what it announces
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"186a1\r\n" + b"x" * 100_001 + b"\r\n0\r\n\r\n",
        flood,
    ],
)
def test_a_body_over_the_limit(page: Answer) -> None:
    error = why_not(Site({"/": page}), max_bytes=100_000)
    assert error.reason == "too_large"
    assert "100,000" in str(error)


# What servers answer


def test_a_compressed_answer_is_refused() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    assert why_not(Site({"/": ok(bomb, "Content-Encoding: gzip")})).reason == "encoding"
    assert why_not(Site({"/": ok(bomb, "Content-Encoding: identity", "content-encoding: br")})).reason == "encoding"


@pytest.mark.parametrize("status", ["404 secret", "500 secret", "206 secret", "304 secret", "300 secret", "204 secret"])
def test_another_status_is_refused(status: str) -> None:
    error = why_not(Site({"/": ok(b"", "Location: /", status=status)}))
    assert error.reason == "status"
    assert status[:3] in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"secret",
        b"\x00secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n",
        ok(b"secret", "X: " + "secret" * 40_000),
        ok(b"secret", length=7),
        ok(b"secret", "Content-Length: 7"),
        ok(b"secret", "Transfer-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nsecret",  # more digits than int() reads
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 6000 + ok(b"secret"),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: secret\r\n\r\n",
    ],
    ids=lambda answer: ascii(answer[:50]),
)
def test_a_broken_answer(answer: bytes) -> None:
    error = why_not(Site({"/": answer}))
    assert error.reason == "broken"
    assert "secret" not in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize("cancelled", [False, True])
def test_no_connection_is_left_open(cancelled: bool) -> None:
    async def until_left(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        try:
            await drip(writer)
        finally:
            left.set()

    async def scenario() -> None:
        async with online(site):
            policy = FetchPolicy(
                enabled=True, allow=(f"127.0.0.1:{site.port}",), total_seconds=60 if cancelled else 0.2
            )
            fetch = asyncio.create_task(ImageFetcher(policy).fetch(site.url()))
            await arrived.wait()
            if cancelled:  # as when our own client has hung up
                fetch.cancel()
            with pytest.raises((UrlRefused, asyncio.CancelledError)):
                await fetch
            await asyncio.wait_for(left.wait(), 2)

    arrived, left = asyncio.Event(), asyncio.Event()
    site = Site({"/": until_left})
    asyncio.run(scenario())


@pytest.mark.parametrize("cancelled", [False, True])
def test_no_connection_is_left_open_whose_host_is_silent_in_tls(cancelled: bool) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        while await reader.read(1024):
            pass
        left.set()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            policy = FetchPolicy(
                enabled=True, allow=(f"127.0.0.1:{port}",), connect_seconds=60, total_seconds=60 if cancelled else 0.3
            )
            fetch = asyncio.create_task(ImageFetcher(policy).fetch(f"https://127.0.0.1:{port}/"))
            await arrived.wait()
            if cancelled:
                fetch.cancel()
            with pytest.raises((UrlRefused, asyncio.CancelledError)):
                await fetch
            await asyncio.wait_for(left.wait(), 2)

    arrived, left = asyncio.Event(), asyncio.Event()
    asyncio.run(scenario())


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(*authorities: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for each in authorities:
        each.configure_trust(context)
    return context


def secure(site: Site, certificate: trustme.LeafCert) -> AbstractAsyncContextManager[Site]:
    """The site behind TLS, noting the names that clients ask for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    context.sni_callback = lambda connection, name, old: site.names.append(name)
    return online(site, context)


async def fetch_securely(site: Site, certificate: trustme.LeafCert, tls: ssl.SSLContext, host: str) -> bytes:
    async with secure(site, certificate):
        policy = FetchPolicy(enabled=True, allow=(f"{host}:{site.port}",))
        fetcher = ImageFetcher(policy, resolve=answers(["127.0.0.1"])[0], tls=tls)
        return await fetcher.fetch(site.url(host=host, scheme="https"))


@pytest.mark.parametrize(
    ("host", "sni"), [("photos.example", "photos.example"), ("bücher.example", "xn--bcher-kva.example")]
)
def test_the_certificate_is_checked_for_the_name_at_the_pinned_address(
    authority: trustme.CA, host: str, sni: str
) -> None:
    site = Site({"/": ok(PHOTO)})
    certificate = authority.issue_cert(sni)
    assert asyncio.run(fetch_securely(site, certificate, trusting(authority), host)) == PHOTO
    assert site.names == [sni]
    assert f"\r\nHost: {sni}:{site.port}\r\n" in site.requests[0]


def test_an_address_may_have_a_certificate(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    site = Site({"/": ok(PHOTO)})
    assert asyncio.run(fetch_securely(site, certificate, trusting(authority), "127.0.0.1")) == PHOTO


@pytest.mark.parametrize("name", ["other.example", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, name: str) -> None:
    """Least of all does one for the address help, though that is what the socket was opened to."""
    site = Site({"/": ok(PHOTO)})
    certificate = authority.issue_cert(name)
    assert refused(fetch_securely(site, certificate, trusting(authority), "photos.example")).reason == "tls"
    assert site.requests == []


def test_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    site = Site({"/": ok(PHOTO)})
    stranger = trustme.CA().issue_cert("photos.example")
    assert refused(fetch_securely(site, stranger, trusting(authority), "photos.example")).reason == "tls"
    assert refused(fetch_securely(site, stranger, ssl.create_default_context(), "photos.example")).reason == "tls"
    assert site.requests == []


def test_a_host_without_tls_is_refused(authority: trustme.CA) -> None:
    async def scenario() -> bytes:
        async with online(site):
            policy = FetchPolicy(enabled=True, allow=(f"127.0.0.1:{site.port}",), connect_seconds=1.0)
            return await ImageFetcher(policy, tls=trusting(authority)).fetch(site.url(scheme="https"))

    site = Site({}, greeting=ok(PHOTO))
    assert refused(scenario()).reason == "tls"


def test_a_secure_redirect_chain_stays_checked(authority: trustme.CA) -> None:
    """From a host with a good certificate to one whose certificate is for the first."""

    async def scenario() -> bytes:
        certificate = authority.issue_cert("photos.example")
        async with secure(site, certificate), secure(other, certificate):
            site.pages["/"] = redirect(other.url(host="other.example", scheme="https"))
            allow = (f"photos.example:{site.port}", f"other.example:{other.port}")
            fetcher = ImageFetcher(
                FetchPolicy(enabled=True, allow=allow), resolve=answers(["127.0.0.1"])[0], tls=trusting(authority)
            )
            return await fetcher.fetch(site.url(host="photos.example", scheme="https"))

    site, other = Site({}), Site({"/": ok(PHOTO)})
    error = refused(scenario())
    assert error.reason == "tls"
    assert "after 1 redirect" in str(error)
    assert (len(site.requests), len(other.requests)) == (1, 0)
