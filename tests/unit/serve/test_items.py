"""Every spelling of an item that clients send, and those that are refused."""

from __future__ import annotations

import base64

import pytest

from babelclip.serve.errors import InvalidInput
from babelclip.serve.ignored_fields import IgnoredFields
from babelclip.serve.items import ImageItem, ItemLimits, ItemReader, TextItem

LIMITS = ItemLimits(max_items=10, max_image_bytes=1000)
PNG = b"\x89PNG not really"
RAW = base64.b64encode(PNG).decode()
URI = f"data:image/png;base64,{RAW}"
URL = "https://example.org/a.png"


def reader() -> ItemReader:
    return ItemReader(LIMITS, IgnoredFields(strict=False))


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("words", TextItem("words")),
        ("", TextItem("")),
        (URL, TextItem(URL)),  # a bare URL is words: only an object says that it is an image
        ("data:text/plain;base64,eA==", TextItem("data:text/plain;base64,eA==")),
        ({"text": "words"}, TextItem("words")),
        ({"text": "words", "image": None}, TextItem("words")),
        ({"type": "text", "text": "words"}, TextItem("words")),
        ([{"type": "text", "text": "words"}], TextItem("words")),
        ({"content": [{"type": "text", "text": "words"}]}, TextItem("words")),
        (URI, ImageItem(PNG)),
        (URI.replace("data:image", "DATA:IMAGE"), ImageItem(PNG)),
        ({"image": URI}, ImageItem(PNG)),
        ({"image": RAW}, ImageItem(PNG)),
        ({"image": RAW.rstrip("=")}, ImageItem(PNG)),
        ({"image": RAW[:8] + "\n" + RAW[8:]}, ImageItem(PNG)),
        ({"image": URL}, ImageItem(url=URL)),
        ({"image": "http://127.0.0.1/a.png"}, ImageItem(url="http://127.0.0.1/a.png")),  # refused when it is fetched
        ({"url": URL}, ImageItem(url=URL)),
        ({"url": URI}, ImageItem(PNG)),
        ({"bytes": RAW}, ImageItem(PNG)),
        ({"type": "image_url", "image_url": {"url": URL}}, ImageItem(url=URL)),
        ({"type": "image_url", "image_url": URI}, ImageItem(PNG)),
        ({"type": "image_base64", "image_base64": URI}, ImageItem(PNG)),
    ],
)  # fmt: skip
def test_every_spelling(sent: object, meant: object) -> None:
    assert reader().read_all([sent]) == [meant]
    if not isinstance(sent, list):
        assert reader().read_all(sent) == [meant]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (5, "found a number"),
        (None, "found null"),
        ({}, "found nothing"),
        ({"words": "a"}, "found 'words'"),
        ({"text": "a", "image": RAW}, "found 'text', 'image'"),
        ({"text": 5}, "text: expected a string, found a number"),
        ({"image": "not base64!"}, "none of these"),
        ({"image": ""}, "empty"),
        ({"url": RAW}, "plain base64 is sent as"),
        ({"image": base64.b64encode(b"x" * 1001).decode()}, "more than 1,000 bytes"),
        ({"image": "A" * 100_000}, "more than 1,000 bytes"),
        ({"image": "data:image/svg+xml,<svg/>"}, "a data URI in base64"),
        ({"pdf": RAW}, "render their pages"),
        ([1, 2, 3], "token ids"),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": URL}], "found 2"),
    ],
)  # fmt: skip
def test_what_is_refused_says_where_and_why(sent: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"input\[1\]") as refused:
        reader().read_all(["good", sent])
    assert said in str(refused.value)
    assert refused.value.status == 422


def test_token_ids_are_refused_as_a_whole() -> None:
    with pytest.raises(InvalidInput, match="token ids"):
        reader().read_all([1, 2, 3])


def test_all_that_is_wrong_is_named() -> None:
    with pytest.raises(InvalidInput, match="and 1 more") as refused:
        reader().read_all([3, "good", {"pdf": "x"}])
    assert [wrong.field for wrong in refused.value.errors] == ["input[0]", "input[2].pdf"]


def test_messages_do_not_repeat_what_was_sent() -> None:
    with pytest.raises(InvalidInput) as refused:
        reader().read_all({"image": "secret secret!"})
    assert "secret" not in str(refused.value)
