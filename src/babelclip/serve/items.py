"""Every way in which clients spell a text or an image, read into one of two things.

====================================================  =======================================================
what is sent                                          what it is
====================================================  =======================================================
``"words"``, ``{"text": "words"}``                    a text
``"data:image/png;base64,..."``                       an image: such a string is never meant as words
``{"image": X}``                                      an image; X is a URL, a data URI or plain base64
``{"url": X}``                                        an image; X is a URL or a data URI
``{"bytes": X}``                                      an image; X is plain base64
``{"type": "text", "text": "words"}``                 a text (OpenAI's and Voyage's content parts)
``{"type": "image_url", "image_url": X}``             an image; X is ``{"url": ...}`` or the URL or data URI itself
``{"type": "image_base64", "image_base64": X}``       an image; X is a data URI
``[part]``, ``{"content": [part]}``                   the one part
====================================================  =======================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from babelclip.data_uri import from_base64, is_image_uri, read_head
from babelclip.serve.bad_requests import InvalidInput, TooLarge, Wrong

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TOKEN_IDS = "token ids are not taken, only texts: another tokenizer made them"
SPELLINGS = 'a string, {"text": ...}, {"image": URL, data URI or base64}, {"url": ...} or {"bytes": base64}'


@dataclass(frozen=True, slots=True)
class TextItem:
    """A text to be embedded."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageItem:
    """An image to be embedded: the bytes of its file, or where they are."""

    content: bytes | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)  # may hold a secret


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is neither, in a request whose items may fail alone."""

    why: str


Item = TextItem | ImageItem | Unreadable


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """How much one request may carry."""

    max_items: int
    max_image_bytes: int

    def check_number(self, number: int, name: str = "input") -> None:
        """Raises: TooLarge for more items than a request may have."""
        if number > self.max_items:
            raise TooLarge(f"{name} has {number:,} items, the limit is {self.max_items:,}; send several requests")


def read_items(
    value: object, limits: ItemLimits, name: str = "input", *, may_fail: bool = False
) -> tuple[list[Item], bool]:
    """The items of a body's ``input``, and whether it was a lone one.

    Raises: InvalidInput that names every item that is wrong, unless items of a list ``may_fail`` alone; TooLarge.
    """
    if not isinstance(value, list):
        return [read_item(value, limits.max_image_bytes, name)], True
    if value and all(isinstance(part, int) and not isinstance(part, bool) for part in value):
        raise InvalidInput([Wrong(name, _TOKEN_IDS, "type_error")])
    limits.check_number(len(value), name)
    items: list[Item] = []
    wrong: list[Wrong] = []
    for place, part in enumerate(value):
        try:
            items.append(read_item(part, limits.max_image_bytes, f"{name}[{place}]"))
        except InvalidInput as error:
            items.append(Unreadable(str(error)))
            wrong += error.wrong
    if wrong and not may_fail:
        raise InvalidInput(wrong)
    return items, False


def read_item(value: object, max_image_bytes: int, place: str) -> Item:
    """One item, however it is spelt. Raises: InvalidInput."""
    if isinstance(value, str):
        return ImageItem(_from_data_uri(value, max_image_bytes, place)) if is_image_uri(value) else TextItem(value)
    if isinstance(value, list):
        return _lone_part(value, max_image_bytes, place)
    if not isinstance(value, Mapping):
        raise InvalidInput([Wrong(place, f"expected {SPELLINGS}, found {_kind(value)}", "type_error")])
    if "content" in value and isinstance(value["content"], list):
        return _lone_part(value["content"], max_image_bytes, f"{place}.content")
    given = [name for name in _READERS if value.get(name) is not None]
    if len(given) != 1:
        found = ", ".join(map(repr, given)) or ", ".join(map(repr, list(value)[:5])) or "nothing"
        raise InvalidInput([Wrong(place, f"expected one text or one image ({SPELLINGS}), found {found}")])
    return _READERS[given[0]](value[given[0]], max_image_bytes, f"{place}.{given[0]}")


def _lone_part(parts: Sequence[object], most: int, place: str) -> Item:
    if len(parts) != 1 or isinstance(parts[0], list):
        message = f"expected one part, found {len(parts)}: a text and an image have a vector each"
        if parts and all(isinstance(part, int) for part in parts):
            message = _TOKEN_IDS
        raise InvalidInput([Wrong(place, message)])
    return read_item(parts[0], most, f"{place}[0]")


def _text(value: object, most: int, place: str) -> Item:
    return TextItem(_string(value, place))


def _image(value: object, most: int, place: str) -> Item:
    """A URL, a data URI or plain base64; or an object with ``url``, as OpenAI sends it."""
    if isinstance(value, Mapping):
        return _located(value.get("url"), most, f"{place}.url")
    text = _string(value, place)
    return _located(text, most, place) if _URL.match(text) or read_head(text) else _plain(text, most, place)


def _located(value: object, most: int, place: str) -> Item:
    """A URL or a data URI."""
    text = _string(value, place)
    if read_head(text) is not None:
        return ImageItem(_from_data_uri(text, most, place))
    if not _URL.match(text):
        raise InvalidInput([Wrong(place, 'expected a URL or a data URI; plain base64 is sent as {"image": ...}')])
    return ImageItem(url=text)


def _plain(value: object, most: int, place: str) -> Item:
    return ImageItem(_from_base64(_string(value, place), most, place))


def _refused(value: object, most: int, place: str) -> Item:
    raise InvalidInput([Wrong(place, "documents are not taken: render their pages to images and send those")])


_READERS: dict[str, Callable[[Any, int, str], Item]] = {
    "text": _text,
    "image": _image,
    "url": _located,
    "bytes": _plain,
    "image_url": _image,
    "image_base64": _image,
    "pdf": _refused,
}


def _from_data_uri(text: str, most: int, place: str) -> bytes:
    head = read_head(text)
    if head is None or not head.is_base64:
        raise InvalidInput([Wrong(place, "expected a data URI in base64: data:image/png;base64,...")])
    return _from_base64(text[head.length :], most, place)


def _from_base64(text: str, most: int, place: str) -> bytes:
    if len(text) > -(-most // 3) * 4 + 1024:  # line breaks allowed for
        raise InvalidInput([Wrong(place, f"the image has more than {most:,} bytes")])
    try:
        content = from_base64(text, may_lack_padding=True)
    except ValueError:
        raise InvalidInput([Wrong(place, "expected base64, a data URI or a URL; it is none of these")]) from None
    if not content:
        raise InvalidInput([Wrong(place, "the image is empty")])
    if len(content) > most:
        raise InvalidInput([Wrong(place, f"the image has more than {most:,} bytes")])
    return content


def _string(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput([Wrong(place, f"expected a string, found {_kind(value)}", "type_error")])
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
