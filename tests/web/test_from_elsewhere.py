"""A page elsewhere on the web cannot make a browser ask this one for anything that costs, nor show it in a frame."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser

from .test_cost import ROUTES

COSTLY = [pair for pair in ROUTES if pair[1] != "/health"]
"""Whether it is alive is told to everybody."""
ELSEWHERE: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://localhost"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Origin": "http://[not-an-address"},
    {"Origin": "http://localhost:99999999"},
)


@pytest.mark.parametrize("path", ["page", "served"])
@pytest.mark.parametrize("headers", ELSEWHERE, ids=lambda headers: str([*headers.values()]))
def test_no_route_answers_a_page_elsewhere(request: pytest.FixtureRequest, path: str, headers: dict[str, str]) -> None:
    address = request.getfixturevalue("address") if path == "page" else request.getfixturevalue("served")[0]
    for method, route in COSTLY:
        answer = httpx.request(method, f"{address}{route.replace('{id}', 'x')}", params={"q": "a"}, headers=headers)
        assert answer.status_code == 403, (method, route)
        assert "page elsewhere" in answer.text
    assert httpx.get(f"{address}/health", headers=headers).status_code == 200


def test_the_page_itself_and_programs_are_answered(address: str) -> None:
    own: tuple[dict[str, str], ...] = (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": address},
        {"Origin": address.upper()},
        {"Origin": "https://photos.example.org", "Sec-Fetch-Site": "same-origin"},  # a proxy asks by another name
    )
    for headers in own:
        for method, route in COSTLY:
            answer = httpx.request(method, f"{address}{route.replace('{id}', 'x')}", params={"q": "a"}, headers=headers)
            assert answer.status_code != 403, (method, route, headers)


def test_a_link_elsewhere_leads_to_the_page_but_no_form_does(address: str) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path in ("/", "/playground"):
        assert httpx.get(address + path, headers=followed).status_code == 200
    for method, path in set(COSTLY) - {("GET", "/"), ("GET", "/playground")}:
        assert httpx.request(method, address + path, headers=followed).status_code == 403, (method, path)


def test_no_frame_and_no_referrer(address: str) -> None:
    for path in ("/", "/results?q=a", "/playground", "/nothing"):
        headers = httpx.get(address + path).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.browser
def test_a_form_elsewhere_posts_nothing_and_a_link_leads_here(
    browser: Browser, address: str, served: tuple[str, object]
) -> None:
    """A page of another origin, which is the other server's, does what a hostile one would."""
    page = browser.new_page()
    elsewhere = f"http://127.0.0.1:{urlsplit(served[0]).port}/live"  # it has no content policy
    for method, path in (("post", "/results"), ("post", "/playground"), ("get", "/results?q=a"), ("get", "/")):
        page.goto(elsewhere)
        with page.expect_navigation():
            page.evaluate(
                """([method, action]) => {
                    const form = Object.assign(document.createElement("form"), { method, action });
                    document.body.append(form);
                    form.submit();
                }""",
                [method, address + path],
            )
        is_refused = "a page elsewhere on the web may not send requests" in page.content()
        assert is_refused is (path != "/"), (method, path)
    page.close()
