"""Pictures are drawn anew from files of indexed folders, and from no other file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import babelclip
from babelclip.search.index import Index
from babelclip.web.app import make_page

from .conftest import ALBUM

SECRET = "48.8584 N 2.2945 E"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Of one photo that tells where it was taken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010E] = SECRET  # the description
    Image.open(ALBUM / "dog.webp").convert("RGB").save(folder / "dog.jpg", exif=exif, comment=SECRET)
    assert (folder / "dog.jpg").read_bytes().count(SECRET.encode()) == 2
    with Index.open(f"sqlite:{tmp_path}/index.db", babelclip.load(threads=1), create=True) as index:
        index.add([folder])
        yield index


@pytest.fixture
def client(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("BABELCLIP_CACHE", str(tmp_path / "cache"))
    return TestClient(make_page(index, babelclip.load(threads=1)), base_url="http://localhost")


def only_id(index: Index) -> str:
    store = index.store()
    assert store is not None
    (row,) = store.known()
    return row.id


@pytest.mark.parametrize("path", ["/thumbnail/{}", "/picture/{}", "/where/{}?q=a+dog"])
def test_nothing_of_the_file_but_its_pixels_is_served(client: TestClient, index: Index, path: str) -> None:
    answer = client.get(path.format(only_id(index)))
    assert answer.status_code == 200
    assert Image.open(io.BytesIO(answer.content)).format in ("WEBP", "PNG")
    assert SECRET.encode() not in answer.content
    assert not Image.open(io.BytesIO(answer.content)).getexif()


@pytest.mark.parametrize("path", ["/thumbnail/{}", "/picture/{}", "/where/{}?q=a+dog"])
def test_a_row_that_leads_out_of_the_indexed_folders_is_refused(
    client: TestClient, index: Index, tmp_path: Path, path: str
) -> None:
    (tmp_path / "photos-of-others").mkdir()
    secret = tmp_path / "photos-of-others" / "secret.jpg"
    secret.write_bytes((tmp_path / "photos" / "dog.jpg").read_bytes())
    store, id = index.store(), only_id(index)
    assert store is not None
    row = store.get([id])[0]
    assert row is not None
    dotted = str(tmp_path / "photos" / ".." / "photos-of-others" / "secret.jpg")
    for leading_out in ({"path": str(secret)}, {"path": dotted}, {"path_bytes": os.fsencode(secret).hex()}):
        store.upsert([replace(row, metadata={**row.metadata, **leading_out})])
        answer = client.get(path.format(id))
        assert (answer.status_code, answer.json()["detail"]) == (404, "it lies outside the indexed folders")
