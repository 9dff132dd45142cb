"""The body of a playground's request, read within bounds.

Images are most of it, and are taken out before the rest is parsed: what a parser makes of a body can be a hundred times
as large, and one wide character would make a text of 32 MB four times as large.
"""

from __future__ import annotations

from babelclip.data_uri import from_base64
from babelclip.decode import parse_json
from babelclip.errors import ConfigError
from babelclip.web.playground import PlaygroundItem
from babelclip.web.settings import PageSettings

BYTES_PER_CHARACTER = 12
"""That a character of a text may take, in a body without its images ..."""
MORE_BYTES = 2**15
"""... beside the names of these."""
_CONTENT = b'"content"'


def read_playground(body: bytes, settings: PageSettings) -> tuple[list[PlaygroundItem], str]:
    """Texts, then images, and the width that is asked for ("" for the model's own).

    Raises:
        ConfigError: the body is not of the playground's form, or has more items or characters than are taken.
    """
    rest, contents = _without_images(body, settings)
    try:
        given = parse_json(rest)
        _refuse_unknown(given, ("texts", "images", "dim"))
        for each in given["images"]:
            _refuse_unknown(each, ("name", "content"))
        texts = [PlaygroundItem(_text(text)) for text in given["texts"]]
        images = [PlaygroundItem(_text(each["name"]), _image(contents, each["content"])) for each in given["images"]]
        return texts + images, str(given.get("dim") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the request is not of the playground's form ({type(error).__name__})") from error


def _without_images(body: bytes, settings: PageSettings) -> tuple[bytes, list[memoryview]]:
    """A body with a number in the place of each image's base64, and the base64 of each number."""
    max_items = settings.compared_items
    max_rest = BYTES_PER_CHARACTER * settings.compared_characters + MORE_BYTES
    view, rest, contents, done = memoryview(body), bytearray(), list[memoryview](), 0
    while (found := body.find(_CONTENT, done)) >= 0:
        start = body.find(b'"', found + len(_CONTENT)) + 1
        between = body[found + len(_CONTENT) : min(start, found + len(_CONTENT) + 64)].split()
        end = body.find(b'"', start) if between == [b":", b'"'] or between == [b':"'] else -1
        if end < 0 or len(contents) == max_items:
            break  # the rest is no image, or one too many, and is judged with what is no image
        rest += view[done : start - 1]
        rest += str(len(contents)).encode()
        contents.append(view[start:end])
        done = end + 1
    if len(rest) + len(body) - done > max_rest:
        raise ConfigError(
            f"the request has more than {max_rest:,} bytes beside its images, or more than {max_items} images"
        )
    rest += view[done:]
    return bytes(rest), contents


def _refuse_unknown(given: dict[str, object], names: tuple[str, ...]) -> None:
    for name in given.keys() - set(names):
        raise ConfigError(f"unknown field {name[:80]!r} in the request: expected {', '.join(names)}")


def _image(contents: list[memoryview], number: object) -> bytes:
    if not isinstance(number, int) or not 0 <= number < len(contents):
        raise TypeError("the content of an image is a text")
    return from_base64(str(contents[number], "ascii").replace("\\/", "/"))


def _text(given: object) -> str:
    """A text that can be written in an answer: half of a surrogate pair cannot."""
    if not isinstance(given, str):
        raise TypeError("a text is a text")
    given.encode()
    return given
