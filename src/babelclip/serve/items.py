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
``{"type": "image_base64", "image_base64": X}``       an image; X is a data URI or ``{"base64": ...}``
``{"type": "image", "format": "base64", "value": X}`` an image; X is plain base64
``[part]``, ``{"content": [part]}``                   the one part
====================================================  =======================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from babelclip.data_uri import from_base64, is_image_uri, read_head
from babelclip.serve.errors import FieldError, InvalidInput, TooLarge
from babelclip.serve.ignored_fields import IgnoredFields

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TOKEN_IDS = (
    "token ids are not taken, only texts: another tokenizer made them. Have the client send texts "
    "(OpenAIEmbeddings of langchain-openai does with check_embedding_ctx_length=False)"
)
MAX_NESTED = 8  # lists of one part in another: nobody sends more than one
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
class UnreadableItem:
    """What is neither, in a request whose items may fail alone."""

    code: str
    message: str


Item = TextItem | ImageItem | UnreadableItem


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """How much one request may carry."""

    max_items: int
    max_image_bytes: int

    def check_number(self, number: int, name: str = "input") -> None:
        """Count what a request holds.

        Raises:
            TooLarge: more items than a request may have.
        """
        if number > self.max_items:
            raise TooLarge(f"{name} has {number:,} items, the limit is {self.max_items:,}; send several requests")

    def check_some(self, number: int, name: str = "input") -> None:
        """Count what a request holds, which is to hold something.

        Raises:
            InvalidInput: it holds nothing.
            TooLarge: more items than a request may have.
        """
        if number == 0:
            raise InvalidInput([FieldError(name, "expected one item or more, found an empty list", "too_short")])
        self.check_number(number, name)


class ItemReader:
    """Reads the items of one request."""

    def __init__(self, limits: ItemLimits, ignored: IgnoredFields, *, may_fail: bool = False) -> None:
        """Read items of one request.

        Args:
            ignored: is told of fields of items that mean nothing.
            may_fail: an item of a list that is wrong has its own error, and the others are read.
        """
        self._limits, self._ignored, self._may_fail = limits, ignored, may_fail

    def read_all(self, value: object, name: str = "input") -> list[Item]:
        """The items of a body's ``input``, which may be a lone one.

        Raises:
            InvalidInput: an item is wrong; it names every one that is.
            TooLarge: there are too many.
        """
        if not isinstance(value, list):
            return [self.read(value, name)]
        if _is_token_ids(value) or (value and not self._may_fail and all(map(_is_token_ids, value))):
            raise InvalidInput([FieldError(name, _TOKEN_IDS, "type_error")])  # one sentence for as many as there are
        self._limits.check_some(len(value), name)
        items: list[Item] = []
        errors: list[FieldError] = []
        for index, part in enumerate(value):
            try:
                items.append(self.read(part, f"{name}[{index}]"))
            except InvalidInput as error:
                items.append(UnreadableItem(InvalidInput.code, str(error)))
                errors += error.errors
        if errors and not self._may_fail:
            raise InvalidInput(errors)
        return items

    def read(self, value: object, field: str) -> Item:
        """One item, however it is spelled.

        Raises:
            InvalidInput: it is neither one text nor one image.
        """
        if isinstance(value, str):
            return self._data_uri(value, field) if is_image_uri(value) else TextItem(value)
        if isinstance(value, list):
            return self._lone_part(value, field)
        if field.count(".content") > MAX_NESTED:
            raise InvalidInput([FieldError(field[:80], f"content within content, more than {MAX_NESTED} deep")])
        if not isinstance(value, Mapping):
            raise InvalidInput([FieldError(field, f"expected {SPELLINGS}, found {_kind(value)}", "type_error")])
        if isinstance(value.get("content"), list):
            self._note_unknown(value, {"content"}, field)
            return self._lone_part(value["content"], f"{field}.content")
        given = [name for name in _READERS if value.get(name) is not None]
        if len(given) != 1:
            found = ", ".join(map(repr, given)) or ", ".join(map(repr, list(value)[:5])) or "nothing"
            raise InvalidInput([FieldError(field, f"expected one text or one image ({SPELLINGS}), found {found}")])
        name = given[0]
        is_typed = value.get("type") == ("image" if name == "value" else name)
        if name == "value" and not (is_typed and value.get("format") == "base64"):
            raise InvalidInput(
                [FieldError(field, 'a value is sent as {"type": "image", "format": "base64", "value": X}')]
            )
        self._note_unknown(
            value, {name, *(["type"] if is_typed else ()), *(["format"] if name == "value" else ())}, field
        )
        return _READERS[name](self, value[name], f"{field}.{name}")

    def _note_unknown(self, value: Mapping[str, object], known: set[str], field: str) -> None:
        """Fields beside those that were read; null is as good as not sent."""
        self._ignored.add_unknown(f"{field}.{name}" for name in value if name not in known and value[name] is not None)

    def _lone_part(self, parts: Sequence[object], field: str) -> Item:
        if _is_token_ids(parts):
            raise InvalidInput([FieldError(field, _TOKEN_IDS)])
        if len(parts) != 1 or isinstance(parts[0], list):
            message = f"expected one part, found {len(parts)}: a text and an image have a vector each"
            raise InvalidInput([FieldError(field, message)])
        return self.read(parts[0], f"{field}[0]")

    def _text(self, value: object, field: str) -> Item:
        return TextItem(_string(value, field))

    def _image(self, value: object, field: str) -> Item:
        """A URL, a data URI or plain base64; or an object with ``url``, as OpenAI sends it, or with ``base64``."""
        if isinstance(value, Mapping) and value.get("base64") is not None:
            self._note_unknown(value, {"base64", "mime_type"}, field)
            return self._plain(value["base64"], f"{field}.base64")
        if isinstance(value, Mapping):
            self._note_unknown(value, {"url"}, field)
            return self._located(value.get("url"), f"{field}.url")
        text = _string(value, field)
        return self._located(text, field) if _URL.match(text) or read_head(text) else self._plain(text, field)

    def _located(self, value: object, field: str) -> Item:
        """A URL or a data URI."""
        text = _string(value, field)
        if read_head(text) is not None:
            return self._data_uri(text, field)
        if not _URL.match(text):
            message = 'expected a URL or a data URI; plain base64 is sent as {"image": ...}'
            raise InvalidInput([FieldError(field, message)])
        return ImageItem(url=text)

    def _plain(self, value: object, field: str) -> Item:
        return ImageItem(self._from_base64(_string(value, field), field))

    def _data_uri(self, text: str, field: str) -> Item:
        head = read_head(text)
        if head is None or not head.is_base64:
            raise InvalidInput([FieldError(field, "expected a data URI in base64: data:image/png;base64,...")])
        return ImageItem(self._from_base64(text[head.length :], field))

    def _document(self, value: object, field: str) -> Item:
        raise InvalidInput([FieldError(field, "documents are not taken: render their pages to images and send those")])

    def _from_base64(self, text: str, field: str) -> bytes:
        max_bytes = self._limits.max_image_bytes
        too_large = InvalidInput([FieldError(field, f"the image has more than {max_bytes:,} bytes")])
        if len(text) > -(-max_bytes // 3) * 4 + 1024:  # line breaks allowed for
            raise too_large
        try:
            content = from_base64(text, may_lack_padding=True)
        except ValueError:
            message = "expected base64, a data URI or a URL; it is none of these"
            raise InvalidInput([FieldError(field, message)]) from None
        if not content:
            raise InvalidInput([FieldError(field, "the image is empty")])
        if len(content) > max_bytes:
            raise too_large
        return content


_READERS: dict[str, Callable[[ItemReader, object, str], Item]] = {
    "text": ItemReader._text,
    "image": ItemReader._image,
    "url": ItemReader._located,
    "bytes": ItemReader._plain,
    "image_url": ItemReader._image,
    "image_base64": ItemReader._image,
    "value": ItemReader._plain,
    "pdf": ItemReader._document,
}
"""Field of an item -> what reads it."""


def _is_token_ids(value: object) -> bool:
    """Whether this is a text as another tokenizer's numbers, be it of one token."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(part, int) and not isinstance(part, bool) for part in value)
    )


def _string(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput([FieldError(field, f"expected a string, found {_kind(value)}", "type_error")])
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
