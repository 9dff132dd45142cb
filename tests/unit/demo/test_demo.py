"""The album is complete, and the page holds everything itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import babelclip
from babelclip.demo.album import HERE, Album, AlbumPhoto, AlbumQuery, read_album
from babelclip.demo.page import render_demo
from babelclip.demo.results import AlbumResults, QueryResult, RankedPhoto, answer_queries

from ..hostile_values import check_every_text

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def album() -> Album:
    return read_album()


class Oracle:
    """Encodes photo number i, and every query that wants it, as unit vector i; other queries as the mean of all."""

    def __init__(self, album: Album) -> None:
        self._album = album
        self._place = {photo.name: place for place, photo in enumerate(album.photos)}

    def encode_image(self, images: Sequence[Path], *, progress: bool = False) -> NDArray[np.float32]:
        return np.eye(len(self._place), dtype=np.float32)[[self._place[path.stem] for path in images]]

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        wanted = {query.text: query.wanted for query in (*self._album.queries, *self._album.hard)}
        rows = np.full((len(texts), len(self._place)), 0.01, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for name in wanted[text][:1]:
                row[self._place[name]] = 1
        return rows


@pytest.fixture(scope="module")
def results(album: Album) -> AlbumResults:
    return answer_queries(Oracle(album), album)  # type: ignore[arg-type]


def test_every_photo_has_its_author_link_and_license(album: Album) -> None:
    files = {path.name for path in (HERE / "photos").glob("*.webp")}
    assert {photo.path.name for photo in album.photos} == files
    assert len(files) == 50
    for photo in album.photos:
        assert photo.author.strip()
        assert photo.source.startswith("https://www.flickr.com/photos/")
        assert photo.license == "CC BY 2.0"
        with Image.open(photo.path) as image:
            assert image.size == (224, 224)
    assert sum((HERE / "photos" / name).stat().st_size for name in files) < 1_500_000


def test_queries_are_in_many_languages_and_ask_for_photos_that_exist(album: Album) -> None:
    names = {photo.name for photo in album.photos}
    codes = [query.code for query in album.queries]
    assert len(codes) == len(set(codes)) >= 12
    assert all(query.wanted and set(query.wanted) <= names for query in album.queries)
    assert all((query.english is None) == (query.code == "en") for query in album.queries)
    assert all(query.why and set(query.wanted) <= names for query in album.hard)


def test_the_readme_counts_as_we_do(album: Album) -> None:
    assert len(album.photos) == 50
    assert len(album.queries) == 20
    assert "fifty photos" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "twenty languages" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_list_of_failures_counts_what_the_bundled_model_gets_wrong(album: Album) -> None:
    results = answer_queries(babelclip.load(threads=1), album)
    wrong, asked = len(results.ordinary) - results.num_first, len(results.ordinary)
    listed = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    assert f"{wrong} of {asked} ordinary queries have a wrong photo first" in listed
    for result in results.ordinary:
        title = f"{result.query.language}: {result.query.text}"
        place = re.search(rf"### {re.escape(title)}.*?comes at place (\d+)\.", listed, re.DOTALL)
        assert (1 if place is None else int(place[1])) == result.rank, title


def test_ranks(results: AlbumResults) -> None:
    assert results.num_first == len(results.ordinary)
    assert all(result.rank == 1 for result in results.ordinary)
    assert [result.rank for result in results.hard if not result.query.wanted] == [None]
    scores = [ranked.score for ranked in results.ordinary[0].photos]
    assert scores == sorted(scores, reverse=True)


class Links(HTMLParser):
    """Collects what a browser would load, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name == "src" or (tag == "link" and name == "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_everything_itself(album: Album, results: AlbumResults) -> None:
    page = render_demo(album, results, {"model": "<b>"}, 1.5, "babelclip ...")
    links = Links()
    links.feed(page)
    assert links.open == []
    assert links.loaded == []
    assert all(address.startswith('"data:image/webp') for address in re.findall(r"url\((.{20})", page))
    for photo in album.photos:
        assert photo.source in page
    assert page.count("data:image/webp;base64,") == len(album.photos), "each photo is in the file once"
    for query in album.queries:
        assert f'lang="{query.code}" dir="auto"' in page
    assert "&lt;b&gt;" in page
    assert len(page) < 1_500_000


SMALL = Album(
    photos=(
        AlbumPhoto(HERE / "photos" / "dog.webp", "A dog", "Anna", "https://a.example/1", "CC", "https://cc.example"),
    )
    * 2,
    note="Cropped.",
    queries=(AlbumQuery("German", "de", "ein Hund", "a dog", ("dog",), "easy"),),
    hard=(AlbumQuery("English", "en", "no cat", None, (), "Negation."),),
)


def rendered(shown: dict[str, Any]) -> str:
    """The page of a small album."""
    ordinary, hard = (
        tuple(
            QueryResult(query, tuple(RankedPhoto(photo, 0.5, True) for photo in shown["album"].photos))
            for query in queries
        )
        for queries in (shown["album"].queries, shown["album"].hard)
    )
    return render_demo(shown["album"], AlbumResults(ordinary, hard), shown["facts"], 1.5, shown["what_next"])


def test_whatever_the_page_shows_stays_text() -> None:
    values = {"album": SMALL, "facts": {"model": "small", "threads": 1}, "what_next": "babelclip search"}
    links = frozenset({"source", "license_url"})
    assert check_every_text(rendered, values, unshown=frozenset({"wanted"}), links=links) > 60


def test_the_page_says_where_it_was_answered(album: Album, results: AlbumResults) -> None:
    assert "answered on this machine, offline," in render_demo(album, results, {}, 1.5, "babelclip ...")
    elsewhere = render_demo(album, results, {"remote": "http://gpu:8080/v1"}, 1.5, "babelclip ...")
    assert "answered by http://gpu:8080/v1 in" in elsewhere
    assert "on this machine" not in elsewhere


def test_the_page_says_when_it_is_wrong(album: Album) -> None:
    class Backwards(Oracle):
        def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return -super().encode_text(texts)

    wrong = answer_queries(Backwards(album), album)  # type: ignore[arg-type]
    page = render_demo(album, wrong, {}, 1.5, "babelclip ...")
    assert f"<b>0 of {len(album.queries)}</b>" in page
    assert "right photo at place 50" in page
