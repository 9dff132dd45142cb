"""The page's server, asked over HTTP: what it serves, to whom, and what it refuses."""

from __future__ import annotations

import base64
import io
import re
import socket
import subprocess
import time
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from babelclip.web.locale import TRANSLATIONS

from .conftest import COMMAND, running

WEB = Path(__file__).parents[2] / "src" / "babelclip" / "web"
ALBUM = WEB.parent / "demo" / "photos"


def ids(page: str) -> list[str]:
    return re.findall(r'data-id="([0-9a-f-]+)"', page)


def names(page: str) -> list[str]:
    return re.findall(r'data-path="[^"]*/([^"/]+)"', page)


def test_the_form_works_without_javascript(address: str) -> None:
    page = httpx.get(f"{address}/", params={"q": "a dog"}).text
    assert "dog.jpg" in names(page)[:3]
    assert 'value="a dog"' in page
    similar = re.search(r'<a href="\./(\?like=[^"]+)"', page)
    assert similar is not None
    assert len(names(httpx.get(f"{address}/{unescape(similar.group(1))}").text)) > 10


def test_without_a_query_it_shows_what_is_indexed(address: str) -> None:
    page = httpx.get(f"{address}/").text
    assert len(names(page)) == len(list(ALBUM.glob("*.webp")))
    assert "nan" not in page


def test_a_kind_alone_shows_what_is_of_that_kind(environment: dict[str, str], tmp_path: Path) -> None:
    index = tmp_path / "index.db"
    (tmp_path / "Notes").mkdir()
    for number in range(3):
        (tmp_path / "Notes" / f"{number}.txt").write_text(f"Note {number}")
    for command in (["index", str(ALBUM), "--quiet"], ["index", str(tmp_path / "Notes"), "--documents", "--quiet"]):
        subprocess.run([*COMMAND, *command, "--index", str(index)], env=environment, check=True, capture_output=True)
    with running(["ui", "--no-open", "--index", str(index)], environment) as (address, _):
        shown = httpx.get(f"{address}/", params={"kind": "text"}).text
        assert sorted(names(shown)) == ["0.txt", "1.txt", "2.txt"]
        assert {
            file.rpartition(".")[2] for file in names(httpx.get(f"{address}/results?kind=image").json()["html"])
        } == {"webp"}


def test_pages_of_documents_are_shown(environment: dict[str, str], tmp_path: Path) -> None:
    pages = [Image.open(ALBUM / f"{name}.webp").convert("RGB") for name in ("beach", "zebras")]
    pages[0].save(tmp_path / "album.pdf", save_all=True, append_images=pages[1:])
    index = str(tmp_path / "index.db")
    command = [*COMMAND, "index", str(tmp_path), "--documents", "--quiet", "--index", index]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    with running(["ui", "--no-open", "--index", index], environment) as (address, _):
        page = httpx.get(f"{address}/", params={"q": "zebras"}).text
        assert "page 2" in page
        drawn = {}
        for id in ids(page):
            for route in ("thumbnail", "thumbnail", "picture"):
                answer = httpx.get(f"{address}/{route}/{id}")
                assert answer.headers["content-type"] == "image/webp"
                drawn[route, id] = answer.content
            assert httpx.get(f"{address}/where/{id}", params={"q": "zebras"}, timeout=60).status_code == 200
        assert len(set(drawn.values())) == 4, "each page has a picture of its own"


def test_similar_ones_stay_asked_for_while_filters_are_set(address: str) -> None:
    panda = ids(httpx.get(f"{address}/", params={"q": "a panda"}).text)[0]
    page = httpx.get(f"{address}/", params={"like": panda, "before": "2030"}).text
    assert f'<input type="hidden" name="like" value="{panda}">' in page
    assert "Similar to an image" in page
    found = httpx.get(f"{address}/", params={"like": panda, "q": "zebras"}).text
    assert names(found)[0] == "zebras.jpg", "words come before"
    assert 'name="like"' not in found


def test_how_far_indexing_is(indexing: str) -> None:
    told, said = [], set()
    while (now := httpx.get(f"{indexing}/progress").raise_for_status().json())["running"]:
        told.append(now["text"])
        assert "<form" in httpx.get(indexing).text
        status = httpx.get(f"{indexing}/results").json()["status"]
        if not httpx.get(f"{indexing}/progress").json()["count"]:
            said.add(status)
        time.sleep(0.1)
    assert said == {"The first photos will be here in a moment."}
    assert any(re.fullmatch(r"[\d,]+ indexed · looking through the folders", line) for line in told)
    assert any(re.fullmatch(r"[\d,]+ indexed · indexing: [\d,]+ of [\d,]+", line) for line in told)
    assert (now["count"], now["text"]) == (245, "245 indexed")
    assert "data-indexing" not in httpx.get(indexing).text


def test_results_are_cells_of_the_page(address: str) -> None:
    found = httpx.get(f"{address}/results", params={"q": "一只猫"}).json()
    page = httpx.get(f"{address}/", params={"q": "一只猫"}).text
    assert ids(found["html"]) == ids(page)
    assert found["more"] is None


@pytest.mark.parametrize("name", ["panda.jpg", "bicycle.heic"])
def test_an_image_finds_itself(address: str, photos: Path, name: str) -> None:
    found = httpx.post(f"{address}/results", content=(photos / name).read_bytes()).json()
    assert names(found["html"])[0] == name


def test_who_asks_opens_no_file_here(address: str, photos: Path) -> None:
    """A name of an image is a text like any other, whether there is such a file or not."""
    there, absent = (
        httpx.get(f"{address}/results", params={"q": str(photos / name)}) for name in ("panda.jpg", "nowhere.jpg")
    )
    assert (there.status_code, absent.status_code) == (200, 200)
    assert max(float(score) for score in re.findall(r"cosine ([\d.]+)", there.text)) < 0.6, (
        "a photo is its own best hit"
    )


@pytest.mark.parametrize("body", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_what_is_no_image_is_told(address: str, body: bytes) -> None:
    answer = httpx.post(f"{address}/results", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_filters(address: str) -> None:
    dated = httpx.get(f"{address}/", params={"q": "dog", "after": "2024-01-01"}).text
    assert names(dated) == ["dog.jpg"]
    assert names(httpx.get(f"{address}/", params={"q": "dog", "before": "2024"}).text) == []
    assert names(httpx.get(f"{address}/", params={"q": "dog", "kind": "text"}).text) == []


@pytest.mark.parametrize(
    "wrong", [{"start": "-1"}, {"start": "x"}, {"kind": "video"}, {"after": "soon"}, {"start": "99999"}]
)
def test_a_wrong_address_is_told_in_the_page(address: str, wrong: dict[str, str]) -> None:
    answer = httpx.get(f"{address}/", params={"q": "dog", **wrong})
    assert answer.status_code == 400
    assert "<form" in answer.text


def test_two_languages(address: str) -> None:
    assert '<html lang="zh">' in httpx.get(f"{address}/", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).text
    assert '<html lang="en">' in httpx.get(f"{address}/", headers={"Accept-Language": "fr"}).text
    assert "搜索" in httpx.get(f"{address}/", params={"lang": "zh"}).text


def test_every_word_is_said_somewhere_in_every_language() -> None:
    files = [file for file in (*WEB.glob("*.py"), *WEB.rglob("*.html")) if file.name != "locale.py"]
    said = "".join(file.read_text() for file in files)
    assert [name for name in TRANSLATIONS["en"] if f'"{name}"' not in said and f"'{name}'" not in said] == []
    assert all(texts.keys() == TRANSLATIONS["en"].keys() for texts in TRANSLATIONS.values())


def test_pictures_are_drawn_anew(address: str) -> None:
    id = ids(httpx.get(f"{address}/", params={"q": "a dog"}).text)[0]
    for route, side in (("thumbnail", 320), ("picture", 1600)):
        answer = httpx.get(f"{address}/{route}/{id}")
        assert answer.headers["content-type"] == "image/webp"
        assert max(Image.open(io.BytesIO(answer.content)).size) <= side
        assert httpx.get(f"{address}/{route}/{id}").content == answer.content


@pytest.mark.parametrize("name", ["dog.jpg", "elephants.jpg", "bicycle.heic"])
def test_where_is_a_picture(address: str, name: str) -> None:
    page = httpx.get(f"{address}/", params={"q": name.partition(".")[0]}).text
    id = ids(page)[names(page).index(name)]
    answer = httpx.get(f"{address}/where/{id}", params={"q": "a dog"}, timeout=60)
    assert answer.status_code == 200, answer.text
    painted, shown = (
        Image.open(io.BytesIO(content)) for content in (answer.content, httpx.get(f"{address}/picture/{id}").content)
    )
    assert painted.format == "PNG"
    assert abs(painted.width / painted.height - shown.width / shown.height) < 0.02  # both upright


@pytest.mark.parametrize(
    "path",
    [
        "/thumbnail/00000000000000000000000000000000",
        "/thumbnail/..%2f..%2fsecret.jpg",
        "/picture/%2e%2e%2fsecret.jpg",
        "/static/..%2fapp.py",
        "/static/locale.py",
        "/secret.jpg",
    ],
)
def test_nothing_else_is_served(address: str, path: str) -> None:
    assert httpx.get(address + path).status_code == 404


def test_a_name_that_leads_here_against_the_users_will_is_not_answered(address: str) -> None:
    port = urlsplit(address).port
    assert httpx.get(f"{address}/", headers={"Host": f"evil.example:{port}"}).status_code == 400
    assert httpx.get(f"{address}/", headers={"Host": f"127.0.0.1:{port}"}).status_code == 200


def test_the_content_policy_is_strict(address: str) -> None:
    for path in ("/", "/results?q=dog", "/static/search.js", "/thumbnail/x"):
        policy = httpx.get(address + path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
    page = httpx.get(f"{address}/", params={"q": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page
    assert "style=" not in page


def test_too_large_a_body_is_refused(address: str) -> None:
    answer = httpx.post(f"{address}/results", content=b"\0" * (33 * 2**20), timeout=60)
    assert answer.status_code == 413


def test_the_playground_compares(address: str, photos: Path) -> None:
    page = httpx.get(f"{address}/playground", params={"texts": "a dog\nein Hund\nthe moon", "dim": "64"}).text
    cells = [float(cell) for cell in re.findall(r"<td class=\"shade\d\">(-?[\d.]+)</td>", page)]
    assert len(cells) == 9
    assert cells[0] == cells[4] == cells[8] == 1.0
    assert cells[1] > cells[2], "a dog and ein Hund are closer than a dog and the moon"
    vectors = re.findall(r"<pre[^>]*>\[([^\]]+)\]</pre>", page)
    assert [len(vector.split(",")) for vector in vectors] == [64, 64, 64]
    assert "tokens (" in page

    content = base64.b64encode((photos / "dog.jpg").read_bytes()).decode()
    body = {"texts": ["a dog", "the moon"], "images": [{"name": "dog's.jpg", "content": content}], "dim": 384}
    found = httpx.post(f"{address}/playground", json=body).json()["html"]
    cells = [float(cell) for cell in re.findall(r"<td class=\"shade\d\">(-?[\d.]+)</td>", found)]
    assert cells[2] > cells[5], "the photo is closer to a dog than to the moon"
    assert "4,000 for images" in found


@pytest.mark.parametrize(
    "body",
    [
        b"nothing",
        b"{}",
        b'{"texts": [], "images": []}',
        b'{"texts": ["x"], "images": [{"name": "a", "content": "!"}]}',
        b'{"texts": ["x"], "images": [{"name": "a", "content": "AAAA"}]}',
        b'{"texts": ["x"], "images": [], "dim": 4000}',
    ],
)
def test_the_playground_tells_what_is_wrong(address: str, body: bytes) -> None:
    answer = httpx.post(f"{address}/playground", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_pictures_that_nobody_waits_for_are_not_drawn(environment: dict[str, str], tmp_path: Path) -> None:
    with running(["ui", "--no-open"], {**environment, "BABELCLIP_CACHE": str(tmp_path)}) as (address, _):
        wanted = ids(httpx.get(address).text)
        for id in wanted[1:41]:
            with socket.create_connection(("127.0.0.1", urlsplit(address).port)) as connection:  # type: ignore[arg-type]
                connection.sendall(f"GET /thumbnail/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert httpx.get(f"{address}/thumbnail/{wanted[0]}", timeout=60).status_code == 200
        assert len(list(tmp_path.rglob("*.webp"))) < 30
