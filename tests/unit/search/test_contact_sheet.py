"""A contact sheet shows what was found, and whatever it shows stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babelclip.search.contact_sheet import render_sheet
from babelclip.search.index import Hit

from ..hostile_values import check_every_text

PHOTO = Path(__file__).parents[3] / "src" / "babelclip" / "demo" / "photos" / "dog.webp"


def photo(path: Path) -> Hit:
    return Hit(1, str(path), "image", 0.25, "1f", {"path": str(path)}, 0.5)


def text_hit(path: str, **metadata: Any) -> Hit:
    return Hit(1, path, "text", 0.25, "1f", metadata, 0.5)


def rendered(shown: dict[str, Any]) -> str:
    """Of a text and of a photo that is not there."""
    hits = [text_hit(**shown["text"]), photo(Path(shown["missing"]))]
    return render_sheet(shown["title"], [hits], shown["facts"])


def test_whatever_it_shows_stays_text() -> None:
    text = {"path": "/Notes/dog.txt", "text": "A dog.", "page": "2"}
    values = {"title": "a dog", "text": text, "missing": "/Photos/missing.jpg", "facts": "2 hits"}
    assert check_every_text(rendered, values) > 20


def test_a_photo_is_inside_and_one_that_is_gone_says_so() -> None:
    text = text_hit("/Notes/dog.txt", text="A dog.", page=2, taken="2024-07-01T12:30:00")
    page = render_sheet("a dog", [[photo(PHOTO), photo(Path("/missing.jpg"))], [text]], "")
    assert page.count('src="data:image/webp;base64,') == 1
    assert "there is no such file" in page
    assert page.count("<ol>") == 2
    assert "1. dog.txt · page 2" in page
    assert "0.250 · 50% · 2024-07-01" in page
