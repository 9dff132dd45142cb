"""A URL is read in one way or refused; its host and port come out in one spelling."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip.serve.images.image_url import FetchTarget, UrlRefused, follow, read_authority, read_url

READ = {
    "https://photos.example/a/b.jpg?x=1&y=%20#part": ("https", "photos.example", 443, "/a/b.jpg?x=1&y=%20"),
    "HTTPS://Photos.EXAMPLE": ("https", "photos.example", 443, "/"),
    "http://photos.example?x": ("http", "photos.example", 80, "/?x"),
    "https://photos.example:/": ("https", "photos.example", 443, "/"),
    "https://photos.example:0443/": ("https", "photos.example", 443, "/"),
    "http://photos.example:8080/": ("http", "photos.example", 8080, "/"),
    "https://my_bucket.s3.example/": ("https", "my_bucket.s3.example", 443, "/"),
    "https://1.1.1.1/": ("https", "1.1.1.1", 443, "/"),
    "https://[2606:4700:4700:0::1111]:443/": ("https", "2606:4700:4700::1111", 443, "/"),
    "http://[::FFFF:127.0.0.1]/": ("http", str(ip_address("::ffff:7f00:1")), 80, "/"),  # 3.13 spells it otherwise
    "https://bücher.example/": ("https", "xn--bcher-kva.example", 443, "/"),
    "https://straße.example/": ("https", "xn--strae-oqa.example", 443, "/"),  # not strasse, which is somebody else's
    "https://图片。example/": ("https", "xn--wcsw84d.example", 443, "/"),
    "https://photos.example/图/می‌خواهم.jpg": (
        "https",
        "photos.example",
        443,
        "/%E5%9B%BE/%D9%85%DB%8C%E2%80%8C%D8%AE%D9%88%D8%A7%D9%87%D9%85.jpg",
    ),
    'https://photos.example/a"<>|^`{}[]?"[]': (
        "https",
        "photos.example",
        443,
        "/a%22%3C%3E%7C%5E%60%7B%7D%5B%5D?%22%5B%5D",
    ),
}

REFUSED = {
    "": "scheme",
    "photos.example/a.jpg": "scheme",
    "//photos.example/a.jpg": "scheme",
    "file:///etc/passwd": "scheme",
    "ftp://photos.example/a.jpg": "scheme",
    "gopher://photos.example/": "scheme",
    "data:image/png;base64,AAAA": "scheme",
    "javascript:alert(1)": "scheme",
    "https:photos.example": "bad_url",
    "https:/photos.example": "bad_url",
    "https://": "bad_url",
    "https:///photos.example": "bad_url",
    "https://:443/": "bad_url",
    "https://?x": "bad_url",
    # a name and password, or what looks like them to one parser only
    "https://me@photos.example/": "bad_url",
    "https://me:secret@photos.example/": "bad_url",
    "https://@photos.example/": "bad_url",
    "https://photos.example:443@127.0.0.1/": "bad_url",
    "https://photos.example\\@127.0.0.1/": "bad_url",
    "https://photos.example\\.other.example/": "bad_url",
    "https:\\\\photos.example/": "bad_url",
    # white space and control characters, which parsers drop or cut at
    " https://photos.example/": "bad_url",
    "https://photos.example/ ": "bad_url",
    "https://photos.example/a b": "bad_url",
    "https://photos\t.example/": "bad_url",
    "https://photos.example/\r\nHost: other": "bad_url",
    "https://photos.example/\x00": "bad_url",
    "https://photos.example/\x7f": "bad_url",
    "https://photos.example/\x85": "bad_url",
    "https://photos.example/\u2028": "bad_url",
    "https://photos.example/\u3000": "bad_url",
    "https://photos.example/\udc80": "bad_url",
    # addresses in unusual spellings
    "http://2130706433/": "bad_url",
    "http://0x7f000001/": "bad_url",
    "http://0X7F000001/": "bad_url",
    "http://0x/": "bad_url",
    "http://017700000001/": "bad_url",
    "http://0177.0.0.1/": "bad_url",
    "http://0x7f.0.0.1/": "bad_url",
    "http://127.0.0.0x1/": "bad_url",
    "http://127.0.0.01/": "bad_url",
    "http://127.1/": "bad_url",
    "http://127.0.0.1.1/": "bad_url",
    "http://photos.1/": "bad_url",
    "http://127.0.0.1./": "bad_url",
    "http://１２７.０.０.１/": "bad_url",
    "http://127。0。0。1/": "bad_url",
    "http://①②⑦.0.0.1/": "bad_url",
    "http://%31%32%37.0.0.1/": "bad_url",
    "http://127.0.0.1%00.photos.example/": "bad_url",
    # names
    "https://photos.example./": "bad_url",
    "https://./": "bad_url",
    "https://.example/": "bad_url",
    "https://photos..example/": "bad_url",
    "https://photos。/": "bad_url",
    "https://-photos.example/": "bad_url",
    "https://ph*tos.example/": "bad_url",
    "https://photos,example/": "bad_url",
    "https://" + "a" * 64 + ".example/": "bad_url",
    "https://" + "a." * 130 + "example/": "bad_url",
    "https://" + "ü" * 300 + ".example/": "bad_url",
    "https://photos.example／.other.example/": "bad_url",
    "https://a\u2488com/": "bad_url",
    # IPv6
    "https://::1/": "bad_url",
    "https://[::1/": "bad_url",
    "https://::1]/": "bad_url",
    "https://[]/": "bad_url",
    "https://[127.0.0.1]/": "bad_url",
    "https://[::1].example/": "bad_url",
    "https://[fe80::1%25eth0]/": "bad_url",
    "https://[fe80::1%eth0]/": "bad_url",
    "https://[v1.fe80::1]/": "bad_url",
    # ports
    "https://photos.example:0/": "bad_url",
    "https://photos.example:65536/": "bad_url",
    "https://photos.example:-1/": "bad_url",
    "https://photos.example:+443/": "bad_url",
    "https://photos.example:４４３/": "bad_url",
    "https://photos.example:443:80/": "bad_url",
    "https://photos.example/" + "a" * 8192: "bad_url",
}


@pytest.mark.parametrize(("url", "parts"), READ.items())
def test_a_url_is_read(url: str, parts: tuple[str, str, int, str]) -> None:
    target = read_url(url)
    assert (target.scheme, target.host, target.port, target.resource) == parts


@pytest.mark.parametrize(("url", "reason"), REFUSED.items(), ids=lambda text: ascii(text[:60]))
def test_a_url_is_refused(url: str, reason: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        read_url(url)
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


def test_the_message_says_that_there_is_a_password() -> None:
    with pytest.raises(UrlRefused, match="user name or password"):
        read_url("https://me:secret@photos.example/")


@pytest.mark.parametrize(
    ("scheme", "host", "port", "authority"),
    [
        ("https", "photos.example", 443, "photos.example"),
        ("https", "photos.example", 80, "photos.example:80"),
        ("http", "photos.example", 80, "photos.example"),
        ("http", "::1", 8080, "[::1]:8080"),
    ],
)
def test_the_host_header(scheme: str, host: str, port: int, authority: str) -> None:
    target = FetchTarget(scheme, host, port, "/?key=secret")  # type: ignore[arg-type]
    assert target.authority == authority
    assert "secret" not in repr(target)
    assert read_authority(authority)[0] == host


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("c.jpg", "https://photos.example/a/c.jpg"),
        ("/c.jpg", "https://photos.example/c.jpg"),
        ("?y", "https://photos.example/a/b?y"),
        ("//other.example/c", "https://other.example/c"),
        ("http://other.example:8080/c#d", "http://other.example:8080/c"),
        ("../../c", "https://photos.example/c"),
        ("", "https://photos.example/a/b?x"),
    ],
)
def test_a_redirect_leads_on(location: str, leads_to: str) -> None:
    assert follow(read_url("https://photos.example/a/b?x"), location) == read_url(leads_to)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "scheme"),
        ("https://me:secret@other.example/", "bad_url"),
        ("http://2130706433/", "bad_url"),
        ("//[secret", "bad_url"),
        ("/a\tsecret", "bad_url"),
    ],
)
def test_a_redirect_is_read_as_strictly(location: str, reason: str) -> None:
    with pytest.raises(UrlRefused, match="redirects to") as caught:
        follow(read_url("https://photos.example/"), location)
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


TEXTS = st.text(max_size=40) | st.text("aA1.0x:@[]/\\?#%-_ü。１\u200d\t", max_size=40)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_whatever_comes_is_refused_or_read_into_one_spelling(authority: str, rest: str) -> None:
    try:
        target = read_url(f"https://{authority}/{rest}")
    except UrlRefused:
        return
    assert re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:]+", target.host)
    assert 1 <= target.port <= 65535
    assert re.fullmatch(r"/[!-~]*", target.resource)
    assert "#" not in target.resource
    assert read_url(f"https://{target.authority}{target.resource}") == target
