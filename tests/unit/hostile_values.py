"""Markup in the place of any text that a page shows: what it must do there is to stay text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

PAYLOADS = (
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "</title></style><img src=x>",
    "</textarea></option><img src=x>",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;<!--",
)
"""Each shorter than what a page cuts off."""
Place = tuple[Any, ...]
"""Names of fields, keys and positions that lead to a text."""


def texts_in(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where there is a text, however deep: in dataclasses, mappings and sequences."""
    if isinstance(value, str):
        yield place
    for name, part in _parts(value):
        yield from texts_in(part, (*place, name))


def replaced(value: Any, place: Place, text: str) -> Any:
    """The same with another text at a place."""
    if not place:
        return text
    first, rest = place[0], place[1:]
    changed = {name: replaced(part, rest, text) if name == first else part for name, part in _parts(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **changed)
    return changed if isinstance(value, Mapping) else type(value)(changed.values())


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, tuple | list) else []


class Structure(HTMLParser):
    """What a browser would make of a page: elements with the names of their attributes; and all that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.shown: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.shown += [value or "" for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment",))

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def check_every_text(
    render: Callable[[Any], str],
    values: Any,
    *,
    unshown: frozenset[Any] = frozenset(),
    links: frozenset[Any] = frozenset(),
) -> int:
    """Put every payload into every place: the page has the same elements, and shows it as it is. How many were tried.

    Args:
        unshown: last names of places whose text is looked at but not shown.
        links: last names of places that hold a link, which may lead to the web alone.
    """
    expected = Structure(render(values)).elements
    tried = 0
    for place in texts_in(values):
        for payload in PAYLOADS:
            is_link = bool(links & set(place))
            page = Structure(render(replaced(values, place, f"https://{payload}" if is_link else payload)))
            assert page.elements == expected, (place, payload)
            if not unshown & set(place):
                spellings = (payload, quote(payload, safe=""), quote_plus(payload), payload.rpartition("/")[2])
                assert any(each in text for text in page.shown for each in spellings), (place, payload)
            tried += 1
        if is_link:
            with pytest.raises(ValueError, match="begins with http"):
                render(replaced(values, place, "javascript:alert(1)"))
    return tried
