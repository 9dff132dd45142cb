"""A client's image URL is read here, once and strictly, into the parts that everything else uses.

Where a check and a connection each read a URL for themselves, the two can be made to see different hosts (that is how
vLLM's guard was passed, CVE-2026-24779). Hence one reading, and no tolerance: what parsers are known to disagree about
is refused, and no later code sees the text again. No network here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from urllib.parse import quote, urljoin, urlsplit

import idna

from babelclip.errors import ImageError

Reason = Literal[
    "disabled",  # no image URLs on this server
    "bad_url",
    "scheme",
    "port",
    "address",  # the host is not at a public address
    "dns",
    "connect",
    "tls",
    "redirect",  # too many, or one without a place to go to
    "status",  # another than 200
    "too_large",
    "timeout",
    "encoding",  # compressed, though not asked for
    "broken",  # no valid HTTP, or cut short
]
Scheme = Literal["http", "https"]
DEFAULT_PORTS: dict[Scheme, int] = {"https": 443, "http": 80}

_MAX_CHARACTERS = 8192  # signed URLs have some 2,000
_MAX_HOST_CHARACTERS = 253
_FORBIDDEN = re.compile(r"[\\\s\x00-\x1f\x7f-\x9f]")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@%]+)(?::(?P<port>[0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as the last part of a host it makes the whole an IPv4 address (WHATWG)


class UrlRefused(ImageError):
    """An image URL that was not fetched. The message holds nothing of what a server answered.

    Attributes:
        reason: a code for metrics and clients.
        why: the message without its beginning.
    """

    def __init__(self, reason: Reason, why: str) -> None:
        self.reason: Reason = reason
        self.why = why
        super().__init__(f"image URL: {why}")


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """Where a URL leads, and what to ask for there."""

    scheme: Scheme
    host: str  # a name in lower case and ASCII, or an IP address in canonical form, without brackets
    port: int
    resource: str = field(repr=False)  # path and query, which may hold a secret

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def read_url(url: str) -> FetchTarget:
    """Take a URL apart; its fragment is dropped.

    Raises:
        UrlRefused: it is none that is fetched; the message repeats nothing of the URL.
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
        resource = quote(parts.path or "/", safe="/%!$&'()*+,;=:@~")
        resource += "?" + quote(parts.query, safe="/%!$&'()*+,;=:@~?") if parts.query else ""
    except ValueError:  # brackets that do not match, characters that fold into others, lone surrogates
        raise UrlRefused("bad_url", "it is no valid URL") from None
    if parts.scheme not in ("https", "http"):
        raise UrlRefused("scheme", "it must start with https://")
    if "@" in parts.netloc:
        raise UrlRefused("bad_url", "it holds a user name or password, or an @ in its host")
    scheme: Scheme = "https" if parts.scheme == "https" else "http"
    host, port = read_authority(parts.netloc)
    return FetchTarget(scheme, host, port or DEFAULT_PORTS[scheme], resource)


def follow(target: FetchTarget, location: str) -> FetchTarget:
    """Where a redirect from ``target`` leads; read as strictly as the first URL.

    Raises:
        UrlRefused: it leads to no address that is fetched.
    """
    try:
        _check_characters(location)  # joining would drop some of them without a word
        return read_url(urljoin(f"{target.scheme}://{target.authority}{target.resource}", location))
    except UrlRefused as error:
        raise UrlRefused(error.reason, f"its host redirects to a URL that is refused: {error.why}") from None
    except ValueError:
        raise UrlRefused("bad_url", "its host redirects to what is no valid URL") from None


def read_authority(authority: str) -> tuple[str, int | None]:
    """``HOST`` or ``HOST:PORT`` -> the host in its one spelling, and the port if it is named.

    Raises:
        UrlRefused: it is neither.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlRefused("bad_url", "its host is missing or misspelled")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise UrlRefused("bad_url", "its port is not from 1 to 65535")
    return _read_host(match["host"]), port


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address in its usual spelling, without brackets."""
    try:
        (IPv6Address if ":" in host else IPv4Address)(host)
    except ValueError:
        return False
    return True


def _check_characters(url: str) -> None:
    if len(url) > _MAX_CHARACTERS:
        raise UrlRefused("bad_url", f"it is longer than {_MAX_CHARACTERS:,} characters")
    if _FORBIDDEN.search(url):
        raise UrlRefused("bad_url", "it holds a space, a backslash or a control character: percent-encode them")


def _read_host(text: str) -> str:
    if len(text) > _MAX_HOST_CHARACTERS:
        raise UrlRefused("bad_url", f"its host is longer than {_MAX_HOST_CHARACTERS} characters")
    try:
        if text.startswith("["):
            return str(IPv6Address(text[1:-1]))
        if is_address(text):
            return text
        host = text.lower() if text.isascii() else idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except ValueError:  # idna's errors are such too
        raise UrlRefused("bad_url", "its host is no valid name or address") from None
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise UrlRefused("bad_url", "its host is an address in an unusual spelling")
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):  # after a trailing dot comes an empty one
        raise UrlRefused("bad_url", "its host is no valid name: letters, digits and hyphens between single dots")
    return host
