"""Files that are read with the help of an extra, and what is told where it is missing."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pillow_heif
import pypdfium2
import pytest
from PIL import Image

from babelclip.encoder import Encoder
from babelclip.errors import ImageError
from babelclip.prepare import image_header
from babelclip.search import optional_formats
from babelclip.search.contact_sheet import render_sheet
from babelclip.search.index import Index
from babelclip.search.open_photo import open_indexed, open_page, open_photo
from babelclip.search.query import Query
from babelclip.search.thumbnail import thumbnail
from babelclip.search.walk import Wanted

ALBUM = Path(__file__).parents[3] / "src" / "babelclip" / "demo" / "photos"


def write_pdf(path: Path, photos: list[str]) -> None:
    """A document with a photo on each page."""
    document = pypdfium2.PdfDocument.new()
    for name in photos:
        file = io.BytesIO()
        Image.open(ALBUM / name).convert("RGB").save(file, "JPEG")
        image = pypdfium2.PdfImage.new(document)
        image.load_jpeg(file)
        width, height = image.get_px_size()
        image.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
        page = document.new_page(width, height)
        page.insert_obj(image)
        page.gen_content()
    document.save(path)


@pytest.fixture
def index(tmp_path: Path, encoder: Encoder) -> Index:
    return Index.open(f"sqlite:{tmp_path / 'index.db'}", encoder, create=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    write_pdf(folder / "album.pdf", ["dog.webp", "cat.webp", "beach.webp"])
    (folder / "broken.pdf").write_bytes((folder / "album.pdf").read_bytes()[:500])
    photo = Image.open(ALBUM / "dog.webp").convert("RGB")
    pillow_heif.from_pillow(photo).save(folder / "dog.heic", quality=90)
    (folder / "broken.heic").write_bytes((folder / "dog.heic").read_bytes()[:300])
    return folder


def test_pages_and_heic_photos_are_found(index: Index, encoder: Encoder, folder: Path) -> None:
    with index:
        report = index.add([folder], Wanted(text=True))
        assert report.embedded == 2
        assert sorted(Path(failure.path).name for failure in report.failures) == ["broken.heic", "broken.pdf"]
        pages = index.search("a cat", 3, kinds=("page",))
        assert (pages[0].kind, pages[0].metadata["page"]) == ("page", 2)
        photo = index.vector_of(folder / "dog.heic")
        assert photo is not None
        assert float(photo @ encoder.encode_image(ALBUM / "dog.webp")) > 0.97
        assert index.add([folder], Wanted(text=True)).unchanged == 2
        assert index.verify() == []
        (folder / "copy.pdf").write_bytes((folder / "album.pdf").read_bytes())
        assert index.add([folder], Wanted(text=True)).known_by_content == 1
        assert index.count() == 7


def test_a_heic_photo_is_a_query(index: Index, folder: Path) -> None:
    """By its name, which must never be taken for a text, or by its bytes, as it is dropped onto the page."""
    with index:
        index.add([folder, ALBUM])
        photo = folder / "dog.heic"
        for query in (Query.parse([str(photo)]), Query.image(photo.read_bytes())):
            best = index.search(query, 1)[0]
            assert (Path(best.path), best.score > 0.999) == (photo, True)


def test_a_shorter_document_leaves_no_page_behind(index: Index, folder: Path) -> None:
    with index:
        index.add([folder], Wanted(text=True))
        write_pdf(folder / "album.pdf", ["beach.webp"])
        index.add([folder], Wanted(text=True))
        assert [hit.metadata["page"] for hit in index.search("a cat", 9, kinds=("page",))] == [1]


def test_without_the_extra_files_are_counted(index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional_formats, "is_installed", lambda name: False)
    with index:
        report = index.add([folder], Wanted(text=True))
        assert dict(report.missing_extras) == {"heif": 2, "pdf": 2}
        assert (report.embedded, report.failures) == (0, [])


def test_a_thumbnail_of_a_large_photo_is_decoded_small(tmp_path: Path) -> None:
    large = Image.open(ALBUM / "dog.webp").convert("RGB").resize((2400, 1800))
    exif = Image.Exif()
    exif[0x0112] = 6
    large.save(tmp_path / "large.jpg", exif=exif)
    small = open_photo(tmp_path / "large.jpg", 320)
    assert 320 <= min(small.size) < 640
    assert small.height > small.width  # turned all the same
    shown = np.asarray(Image.open(io.BytesIO(thumbnail("image", {"path": str(tmp_path / "large.jpg")}))), np.float32)
    slow = large.transpose(Image.Transpose.ROTATE_270)
    slow.thumbnail((320, 320))
    assert shown.shape == (320, 240, 3)
    assert np.abs(shown - np.asarray(slow, np.float32)).mean() < 6


def test_a_photo_is_opened_upright_whatever_its_format(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.open(ALBUM / "dog.webp").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif)
    assert open_photo(folder / "turned.jpg").size == open_photo(folder / "dog.heic").size == photo.size
    with pytest.raises(ImageError, match="broken"):
        open_photo(folder / "broken.heic")
    monkeypatch.setattr(image_header, "is_installed", lambda name: False)
    with pytest.raises(ImageError, match=r"babelclip\[heif\]"):
        open_photo(folder / "dog.heic")


def test_a_page_is_shown_as_it_was_embedded(index: Index, encoder: Encoder, folder: Path) -> None:
    with index:
        index.add([folder / "album.pdf"], Wanted(text=True))
        hit = index.search("a cat", 1, kinds=("page",))[0]
        shown = encoder.encode_image(open_indexed(hit.kind, hit.metadata))
        stored = index.search(shown, 1, kinds=("page",))[0]
        assert (stored.metadata["page"], stored.score > 0.9999) == (2, True)
        sheet = render_sheet("a cat", [[hit]], "")
        small = base64.b64decode(sheet.partition("data:image/webp;base64,")[2].partition('"')[0])
        assert max(Image.open(io.BytesIO(small)).size) == 320


@pytest.mark.parametrize(("name", "number", "said"), [("album.pdf", 4, "no page 4"), ("broken.pdf", 1, "broken")])
def test_a_page_that_cannot_be_shown_says_why(folder: Path, name: str, number: int, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        open_page(folder / name, number)


def test_a_document_of_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch, index: Index, folder: Path) -> None:
    monkeypatch.setattr(optional_formats, "MAX_PAGES", 2)
    with index:
        report = index.add([folder / "album.pdf"], Wanted(text=True))
    assert "3 pages" in report.failures[0].reason
