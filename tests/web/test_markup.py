"""Markup in any value that the page shows stays text: every field of every page, rendered as it is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from babelclip.search.index import Hit
from babelclip.serve.pricing import Usage
from babelclip.web.locale import TRANSLATIONS, Locale
from babelclip.web.playground import Comparison, PlaygroundItem
from babelclip.web.playground_page import render_comparison, render_playground
from babelclip.web.search_page import render_hits, render_search_page
from babelclip.web.search_request import SearchRequest

from ..unit.hostile_values import check_every_text

FACTS = {"taken": "2024-07-01T12:30:00", "page": "2", "text": "A dog."}
SHOWN: dict[str, Any] = {
    "search": {"text": "a dog", "folder": "/Elsewhere"},
    "folders": ["/Photos", "/Notes"],
    "problem": "That did not work",
    "server": "http://gpu:8080/v1",
    "text": {"path": "/Notes/dog.txt", "id": "1f", **FACTS},
    "photo": {"path": "/Photos/dog.jpg", "id": "2f", "taken": "2024-07-01T12:30:00"},
}
PLAYGROUND: dict[str, Any] = {
    "texts": "a dog\nein Hund",
    "problem": "That did not work",
    "items": ("a dog", "dog.jpg"),
    "request": "curl http://localhost:8080/v1/embeddings",
}


@pytest.fixture(params=sorted(TRANSLATIONS))
def locale(request: pytest.FixtureRequest) -> Locale:
    return Locale(request.param, TRANSLATIONS[request.param])


def hit(kind: str, shown: Mapping[str, str]) -> Hit:
    metadata = {name: value for name, value in shown.items() if name not in ("path", "id")}
    return Hit(1, shown["path"], kind, 0.25, shown["id"], metadata, 0.5)


def hits(shown: Mapping[str, Any]) -> list[Hit]:
    return [hit("text", shown["text"]), hit("image", shown["photo"])]


def search_page(shown: Mapping[str, Any], locale: Locale) -> str:
    folder = f"/{shown['search']['folder'].removeprefix('/')}"  # no other is taken
    search, found = SearchRequest(**{**shown["search"], "folder": folder}), hits(shown)
    told = {name: shown[name] for name in ("folders", "problem", "server")}
    return render_search_page(search, found, locale=locale, count=2, **told)


def comparison(shown: Mapping[str, Any]) -> Comparison:
    text, image = shown["items"]
    items = (PlaygroundItem(text), PlaygroundItem(image, b"..."))
    return Comparison(items, np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), Usage(), shown["request"])


def playground(shown: Mapping[str, Any], locale: Locale) -> str:
    return render_playground(
        locale=locale,
        widths=(64, 384),
        texts=shown["texts"],
        dim=64,
        comparison=comparison(shown),
        problem=shown["problem"],
    )


def test_the_search_page(locale: Locale) -> None:
    assert check_every_text(lambda shown: search_page(shown, locale), SHOWN) > 50


def test_similar_ones(locale: Locale) -> None:
    values = {**SHOWN, "search": {"like": "1f", "folder": "/Elsewhere"}}
    assert check_every_text(lambda shown: search_page(shown, locale), values) > 50


def test_results_alone(locale: Locale) -> None:
    values = {name: SHOWN[name] for name in ("text", "photo")}
    assert check_every_text(lambda shown: render_hits(hits(shown), SearchRequest(), locale), values) > 30


def test_the_playground(locale: Locale) -> None:
    assert check_every_text(lambda shown: playground(shown, locale), PLAYGROUND) > 15
    values = {name: PLAYGROUND[name] for name in ("items", "request")}
    assert check_every_text(lambda shown: render_comparison(comparison(shown), locale), values) > 10
