"""The page behind a proxy that has it below a path: every address that it names leads back to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import Browser, expect

from .conftest import COMMAND, running

PREFIX = "/albums/ours"
"""What the proxy takes away."""


@pytest.fixture
def below(address: str) -> Iterator[str]:
    """Address of the page through a proxy, which passes on the name that it was asked by."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            target = address + self.path.removeprefix(PREFIX)
            answer = httpx.request(self.command, target, headers=headers, content=body, timeout=60)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("content-length", "date", "server", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}{PREFIX}/"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["a proxy takes it off", "ui --root-path", "serve --ui --root-path"])
def under(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[str]:
    """Address of the page below a path that is not its own, which who passes it on takes off or leaves."""
    if request.param == "a proxy takes it off":
        yield request.getfixturevalue("below")
        return
    verb = ["ui", "--no-open"] if request.param.startswith("ui") else ["serve", "--ui"]
    with running([*verb, "--root-path", PREFIX], environment) as (address, _):
        yield f"{address.removesuffix(PREFIX)}{PREFIX}/"


def test_every_address_leads_back_to_the_page(under: str) -> None:
    asked = [under, f"{under}?q=a+dog", f"{under}playground", f"{under}results/nothing/at-all", f"{under}where/x?q="]
    seen = set(asked)
    for page in asked:
        answer = httpx.get(page, headers={"Accept": "text/html"}, timeout=60)
        assert answer.headers["content-type"].startswith("text/html")
        found = {urljoin(page, unescape(named)) for named in re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)}
        assert len(found) > 2
        seen |= {named for named in found if not named.startswith("data:")}
    assert all(named.startswith(under) for named in seen)
    kinds = {named.removeprefix(under).partition("/")[0].partition("?")[0]: named for named in sorted(seen)}
    assert {"", "static", "thumbnail", "playground"} <= set(kinds)
    for kind in ("", "static", "thumbnail", "playground"):
        assert httpx.get(kinds[kind], timeout=60).status_code == 200, kinds[kind]


def test_both_spellings_and_the_api_beside_it(environment: dict[str, str], photos: Path) -> None:
    """Whole paths and those without their first part lead to the same; a link elsewhere to the page is followed."""
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with running(["serve", "--ui", "--root-path", PREFIX], environment) as (address, _):
        for prefix in ("", PREFIX):
            found = httpx.post(f"{address}{prefix}/results", content=(photos / "panda.jpg").read_bytes(), timeout=60)
            assert "panda.jpg" in found.json()["html"].partition("</li>")[0]
            for path in ("/", "/playground"):
                assert httpx.get(f"{address}{prefix}{path}", headers=followed, timeout=60).status_code == 200
            assert httpx.get(f"{address}{prefix}/results", headers=followed).status_code == 403
            assert httpx.get(f"{address}{prefix}/v1/models").status_code == 200
            assert httpx.get(f"{address}{prefix}/static/page.css").status_code == 200
        whole = httpx.get(f"{address}{PREFIX}", follow_redirects=False)
        assert (whole.status_code, urljoin(f"{address}{PREFIX}", whole.headers["Location"])) == (
            307, f"{address}{PREFIX}/",
        )  # fmt: skip
        asked = {"texts": "a dog", "dim": "64"}
        assert f"curl {address}{PREFIX}/v1/embeddings " in httpx.get(f"{address}/playground", params=asked).text


def test_the_request_of_the_playground_goes_where_clients_reach_the_server(environment: dict[str, str]) -> None:
    url = "https://photos.example.org/albums/ours/"
    with running(["serve", "--ui", "--page-url", url], environment) as (address, _):
        asked = {"texts": "a dog", "dim": "64"}
        page = httpx.get(f"{address}/playground", params=asked, headers={"Host": "photos.example.org"}, timeout=60).text
        assert f"curl {url}v1/embeddings " in page
        origin = {"Origin": "https://photos.example.org", "Host": "127.0.0.1"}
        posted = [
            httpx.post(f"{address}{path}", json={"input": "a"}, headers=origin).status_code
            for path in ("/v1/embeddings", "/playground")
        ]
        assert posted == [200, 400]  # the page's own name, to the API as well; the other is no playground's request


def test_a_path_that_is_the_pages_own_is_refused(environment: dict[str, str]) -> None:
    for verb in (["ui", "--no-open"], ["serve", "--ui"]):
        command = [*COMMAND, *verb, "--port", "0", "--root-path", "/static"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode != 0
        assert "paths below /static of its own" in done.stderr


@pytest.mark.browser
def test_in_a_browser(browser: Browser, below: str) -> None:
    page = browser.new_page(locale="en-US")
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    page.goto(below)
    page.get_by_role("searchbox").press_sequentially("a panda")
    expect(page.locator("#results .name").first).to_have_text("panda.jpg")
    assert page.url.startswith(f"{below}?")
    page.locator("#results a").first.click()
    expect(page.locator("#large")).to_have_attribute("src", re.compile("^picture/"))
    page.get_by_role("button", name="Where is it seen?").click()
    expect(page.locator("#large")).to_have_attribute("src", re.compile("^where/"))
    expect(page.locator("#large.busy")).to_have_count(0, timeout=60_000)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="Try the vectors").click()
    page.get_by_label("Texts, one a line").fill("a dog\na cat")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("table")).to_be_visible()
    assert refused == []
    page.close()
