"""Whether a page elsewhere on the web made a browser send a request.

A browser lets any page send requests to any address that the machine reaches, this machine's own among them. The page
cannot read the answers, but what a request costs or changes has happened by then. Browsers tell where a request comes
from: ``Sec-Fetch-Site`` (Fetch Metadata, to https and to this machine) and ``Origin`` (https://fetch.spec.whatwg.org).
Programs that are no browsers send neither, and no page can take them away or change them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def page_elsewhere(headers: Mapping[str, str], own_names: Collection[str] = ()) -> str | None:
    """The page of another origin that made a browser send a request; None: no page did, or one of our own.

    Another port of this machine is another origin, as is a file that is open in a browser (``Origin: null``). A page
    that came by a name which is not ours is nobody's that we know (``is_own_host``), whatever the browser says.

    Args:
        headers: of the request, by names in lower case.
        own_names: host names by which a proxy passes requests on, beside this machine's own.
    """
    site = headers.get("sec-fetch-site", "").strip().lower()
    origin = headers.get("origin", "").strip()
    if not origin and site in ("", "none"):  # "none": the user typed the address, or has it as a bookmark
        return None
    host = headers.get("host", "").strip()
    if site == "same-origin":
        is_own = is_own_host(host, names_of_this_machine() | set(own_names))
    else:
        is_own = site in ("", "none") and _is_own_origin(origin.lower(), host.lower(), own_names)
    return None if is_own else origin or "another site"


def _is_own_origin(origin: str, host: str, own_names: Collection[str]) -> bool:
    """Whether an origin is where the request went to, or a proxy at the web's own ports."""
    try:
        came_from, asked = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(came_from.scheme)
        port, asked_port = came_from.port or default, asked.port or default
    except ValueError:  # no address
        return False
    if came_from.hostname is None:
        return False
    if came_from.hostname in own_names and port in _DEFAULT_PORTS.values():
        return True
    is_same = (came_from.hostname, port) == (asked.hostname, asked_port)
    return is_same and is_own_host(host, names_of_this_machine() | set(own_names))


def is_visit(headers: Mapping[str, str]) -> bool:
    """Whether a browser goes to a page itself: by a link elsewhere, say. Frames and scripts do not."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def names_of_this_machine() -> frozenset[str]:
    """What this machine is called here and in its own network."""
    machine = socket.gethostname().lower()
    return frozenset({"localhost", machine, f"{machine}.local"} - {""})


def is_own_host(header: str, names: Collection[str]) -> bool:
    """Whether a ``Host`` is an address in numbers, which is nobody's domain, or one of some names.

    A site elsewhere can let its own name lead to this machine (DNS rebinding); a request says by which name it came.
    """
    host = _host_of(header)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in names
    return True


def _host_of(header: str) -> str:
    """The name or address in a ``Host`` header, without its port and brackets."""
    host = header.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")
