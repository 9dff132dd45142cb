"""Which IP addresses the server must never connect to on behalf of a client.

``ipaddress`` alone does not answer this. Its ``is_global`` (CPython 3.11) is true for multicast, for site-local and
6to4 relay addresses, for every IPv6 form that carries an IPv4 address to a translator (``64:ff9b::7f00:1`` is
127.0.0.1 behind NAT64), and for the one metadata service that lives at a public address. What is refused therefore
stands here in full, after IANA's special-purpose registries for IPv4 and IPv6; ``is_global`` comes last, for what
later registries may add. Names are no business of this module: it sees the addresses that a resolver gave.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# The first network that holds the address gives the reason, so the particular ones stand first.
_REFUSED_V4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("169.254.169.254/32", "a cloud metadata address"),  # AWS, Google, Azure and most others
        ("169.254.170.2/32", "a cloud metadata address"),  # AWS ECS
        ("100.100.100.200/32", "a cloud metadata address"),  # Alibaba
        ("192.0.0.192/32", "a cloud metadata address"),  # Oracle
        ("168.63.129.16/32", "a cloud metadata address"),  # Azure's wire server: public by number, inside by routing
        ("0.0.0.0/8", "an address of this host or network"),  # Linux connects 0.0.0.0 to loopback
        ("127.0.0.0/8", "a loopback address"),
        ("10.0.0.0/8", "a private address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("169.254.0.0/16", "a link-local address"),
        ("100.64.0.0/10", "a carrier's shared address"),
        ("192.0.0.0/24", "a protocol address"),
        ("192.88.99.0/24", "a 6to4 relay address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("192.0.2.0/24", "a documentation address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved or broadcast address"),
    )
)

_REFUSED_V6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("fd00:ec2::254/128", "a cloud metadata address"),  # AWS
        ("fd20:ce::254/128", "a cloud metadata address"),  # Google
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
        ("2001::/23", "a protocol address"),
        ("2001:db8::/32", "a documentation address"),
        ("3fff::/20", "a documentation address"),
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")  # the only part of IPv6 that is given out for public hosts


def _bits_from(first: int) -> Callable[[int], int]:
    """Reads the IPv4 address that begins at bit ``first`` of an IPv6 address, the highest bit being 0."""
    return lambda number: number >> (96 - first) & 0xFFFFFFFF


# IPv6 forms that carry an IPv4 address, to which the packet may go in the end. They are refused whatever they carry:
# a public host has an address of its own, and the resolver gives that one too.
_CARRIERS: tuple[tuple[IPv6Network, str, Callable[[int], int]], ...] = (
    (IPv6Network("::ffff:0:0/96"), "an IPv4-mapped address", _bits_from(96)),
    (IPv6Network("::ffff:0:0:0/96"), "an IPv4-translated (SIIT) address", _bits_from(96)),
    (IPv6Network("::/96"), "an IPv4-compatible address", _bits_from(96)),
    (IPv6Network("64:ff9b::/96"), "a NAT64 address", _bits_from(96)),
    (IPv6Network("64:ff9b:1::/48"), "a local NAT64 address", _bits_from(96)),  # where most translators put it
    (IPv6Network("2002::/16"), "a 6to4 address", _bits_from(16)),
    (IPv6Network("2001::/32"), "a Teredo address", lambda number: ~number & 0xFFFFFFFF),  # the client's, inverted
)


def refusal(address: str) -> str | None:
    """Why ``address`` (IPv4 or IPv6, as a resolver spells it) must not be connected to; None when it is public."""
    if "%" in address:
        return "an address with a zone, which is local to one link"
    try:
        ip = ip_address(address)
    except ValueError:
        return "not an IP address"
    return _refusal_v4(ip) if isinstance(ip, IPv4Address) else _refusal_v6(ip)


def _refusal_v4(ip: IPv4Address) -> str | None:
    for network, reason in _REFUSED_V4:
        if ip in network:
            return reason
    return None if ip.is_global else "not a public address"


def _refusal_v6(ip: IPv6Address) -> str | None:
    if int(ip) > 1:  # :: and ::1 are addresses of their own
        for network, form, carried in _CARRIERS:
            if ip in network:
                inside = IPv4Address(carried(int(ip)))
                reason = _refusal_v4(inside)
                return f"{form} that carries {inside}" + (f", {reason}" if reason else "")
    for network, reason in _REFUSED_V6:
        if ip in network:
            return reason
    return None if ip in _UNICAST_V6 and ip.is_global else "not a public address"
