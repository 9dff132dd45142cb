"""No form of a private address passes, whatever it is wrapped in; public addresses do."""

from __future__ import annotations

import pytest

from babelclip.serve.images.addresses import refusal

REFUSED = {
    "0.0.0.0": "this host",
    "0.1.2.3": "this host",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "shared",
    "100.127.255.255": "shared",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.0.1": "link-local",
    "192.0.0.8": "protocol",
    "192.0.0.170": "protocol",
    "192.0.2.1": "documentation",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "192.88.99.1": "relay",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    # where clouds keep the credentials of a machine
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "100.100.100.200": "metadata",
    "192.0.0.192": "metadata",
    "168.63.129.16": "metadata",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
    # IPv6 of its own
    "::": "unspecified",
    "::1": "loopback",
    "0:0:0:0:0:0:0:1": "loopback",
    "fc00::1": "private",
    "fdff:ffff::1": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "zone",
    "2606:4700:4700::1111%1": "zone",
    "fec0::1": "site-local",
    "feff::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "2001:2::1": "protocol",
    "2001:10::1": "protocol",
    "2001:20::1": "protocol",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "100::1": "not a public",
    "5f00::1": "not a public",
    "4000::1": "not a public",
    "200::1": "not a public",
    # IPv6 that carries IPv4
    "::ffff:127.0.0.1": "IPv4-mapped address that carries 127.0.0.1, a loopback",
    "::ffff:7f00:1": "IPv4-mapped address that carries 127.0.0.1, a loopback",
    "::ffff:169.254.169.254": "carries 169.254.169.254, a cloud metadata",
    "::ffff:8.8.8.8": "carries 8.8.8.8",
    "::ffff:0:127.0.0.1": "SIIT) address that carries 127.0.0.1, a loopback",
    "::ffff:0:10.0.0.1": "SIIT) address that carries 10.0.0.1, a private",
    "::7f00:1": "IPv4-compatible address that carries 127.0.0.1, a loopback",
    "::8.8.8.8": "IPv4-compatible address that carries 8.8.8.8",
    "::2": "IPv4-compatible address that carries 0.0.0.2, an address of this host",
    "64:ff9b::7f00:1": "NAT64 address that carries 127.0.0.1, a loopback",
    "64:ff9b::169.254.169.254": "NAT64 address that carries 169.254.169.254, a cloud metadata",
    "64:ff9b::8.8.8.8": "NAT64 address that carries 8.8.8.8",
    "64:ff9b:1::7f00:1": "local NAT64 address that carries 127.0.0.1, a loopback",
    "64:ff9b:1:ffff::a00:1": "local NAT64 address that carries 10.0.0.1, a private",
    "2002:7f00:1::": "6to4 address that carries 127.0.0.1, a loopback",
    "2002:a9fe:a9fe::1": "6to4 address that carries 169.254.169.254, a cloud metadata",
    "2002:808:808::1": "6to4 address that carries 8.8.8.8",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "Teredo address that carries 127.0.0.1, a loopback",
    "2001::": "Teredo address that carries 255.255.255.255, a reserved",
    # no addresses at all
    "": "not an IP address",
    "localhost": "not an IP address",
    "2130706433": "not an IP address",
    "0x7f000001": "not an IP address",
    "0177.0.0.1": "not an IP address",
    "127.1": "not an IP address",
    "127.0.0.1.": "not an IP address",
    "[::1]": "not an IP address",
}

PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.88.98.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.254",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2001:200::1",
    "2003::1",
    "2a00:1450:4001:80b::200e",
    "3ffe::1",
)


@pytest.mark.parametrize(("address", "why"), REFUSED.items())
def test_these_are_refused(address: str, why: str) -> None:
    found = refusal(address)
    assert found is not None
    assert why in found


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert refusal(address) is None


def test_a_carried_address_that_is_public_has_no_second_reason() -> None:
    assert refusal("64:ff9b::8.8.8.8") == "a NAT64 address that carries 8.8.8.8"
