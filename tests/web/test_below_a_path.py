"""The page behind a proxy that has it below a path: every address that it names leads back to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import Browser, expect

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


def test_every_address_leads_back_to_the_page(below: str) -> None:
    asked = [below, f"{below}?q=a+dog", f"{below}playground", f"{below}nothing/here/at-all", f"{below}where/x?q="]
    seen = set(asked)
    for page in asked:
        answer = httpx.get(page, headers={"Accept": "text/html"}, timeout=60)
        assert answer.headers["content-type"].startswith("text/html")
        found = {urljoin(page, unescape(named)) for named in re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)}
        assert len(found) > 2
        seen |= {named for named in found if not named.startswith("data:")}
    assert all(named.startswith(below) for named in seen)
    kinds = {named.removeprefix(below).partition("/")[0].partition("?")[0]: named for named in sorted(seen)}
    assert {"", "static", "thumbnail", "playground"} <= set(kinds)
    for kind in ("", "static", "thumbnail", "playground"):
        assert httpx.get(kinds[kind], timeout=60).status_code == 200, kinds[kind]


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
