"""The page in a real Chromium: search as you type, an image dropped, the keyboard, a phone, and no JavaScript."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, JSHandle, Page, expect

from .conftest import COMMAND, running

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page of its own; a word on the console, a refused resource or a request to elsewhere fails the test."""
    page = browser.new_page(locale="en-US")
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: complaints.append(request.url) if not request.url.startswith((address, "data:")) else None,
    )
    page.goto(address)
    yield page
    page.close()
    assert complaints == []


def expect_drawn(page: Page, selector: str) -> None:
    """The picture has come; the page's content policy refuses Playwright's own waiting for a function."""
    for _ in range(200):
        if page.evaluate(f"document.querySelector('{selector}').naturalWidth") > 0:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{selector} shows nothing")


def test_results_come_as_you_type(page: Page) -> None:
    page.get_by_role("searchbox").press_sequentially("a panda")
    expect(page.locator("#results .name").first).to_have_text("panda.jpg")
    expect(page.get_by_role("status")).to_contain_text("best first")
    assert "q=a+panda" in page.url
    page.reload()
    expect(page.locator("#results .name").first).to_have_text("panda.jpg")


def test_small_pictures_are_shown(page: Page) -> None:
    page.get_by_role("searchbox").fill("zebras")
    expect(page.locator("#results .name").first).to_have_text("zebras.jpg")
    picture = page.locator("#results img").first
    picture.scroll_into_view_if_needed()
    expect_drawn(page, "#results img")


def transfer_of(page: Page, photo: Path) -> JSHandle:
    """What a browser hands on when a photo is dropped or pasted."""
    return page.evaluate_handle(
        """content => {
            const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        base64.b64encode(photo.read_bytes()).decode(),
    )


def test_an_image_can_be_dropped(page: Page, photos: Path) -> None:
    transfer = transfer_of(page, photos / "flamingo.jpg")
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#results .name").first).to_have_text("flamingo.jpg")


def test_an_image_can_be_pasted(page: Page, photos: Path) -> None:
    transfer = transfer_of(page, photos / "cat.jpg")
    page.evaluate(
        "clipboardData => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))",
        transfer,
    )
    expect(page.locator("#results .name").first).to_have_text("cat.jpg")


def test_an_image_can_be_chosen(page: Page, photos: Path) -> None:
    page.get_by_label("Choose an image").set_input_files(photos / "lighthouse.jpg")
    expect(page.locator("#results .name").first).to_have_text("lighthouse.jpg")


def test_the_lightbox_by_keyboard(page: Page) -> None:
    page.get_by_role("searchbox").fill("a lighthouse")
    expect(page.locator("#results .name").first).to_have_text("lighthouse.jpg")
    links = page.locator("#results a")
    links.first.focus()
    page.keyboard.press("ArrowRight")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("lighthouse.jpg")
    expect_drawn(page, "#large")
    page.keyboard.press("ArrowRight")
    expect(dialog).not_to_contain_text("lighthouse.jpg")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(links.nth(1)).to_be_focused()


def test_where_and_similar(page: Page) -> None:
    page.get_by_role("searchbox").fill("a dog")
    expect(page.locator("#results")).to_contain_text("dog.jpg")
    page.locator("#results a", has_text="dog.jpg").click()
    page.get_by_role("button", name="Where is it seen?").click()
    expect(page.locator("#large")).to_have_attribute("src", re.compile("^where/"))
    expect(page.locator("#large")).not_to_have_class("busy", timeout=30_000)
    expect_drawn(page, "#large")
    page.get_by_role("link", name="Similar ones").click()
    expect(page.locator("#results .name").first).to_have_text("dog.jpg")
    assert "like=" in page.url


def test_filters(page: Page) -> None:
    page.get_by_role("searchbox").fill("animal")
    page.get_by_text("Filters").click()
    page.get_by_label("taken on or after").fill("2024-01-01")
    expect(page.locator("#results li")).to_have_count(1)
    expect(page.locator("#results .name").first).to_have_text("dog.jpg")


def test_markup_in_a_query_stays_text(page: Page) -> None:
    page.get_by_role("searchbox").fill("<img src=x onerror=alert(1)>")
    expect(page.get_by_role("status")).to_contain_text("best first")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("<img src=x onerror=alert(1)>")


def test_photos_appear_as_they_are_indexed(browser: Browser, indexing: str) -> None:
    page = browser.new_page(locale="en-US")
    page.goto(indexing)
    expect(page.get_by_role("status")).to_contain_text("The first photos will be here")
    expect(page.locator("#indexed")).to_contain_text("indexing: ", timeout=60_000)
    expect(page.locator("#results li")).not_to_have_count(0, timeout=60_000)
    expect(page.locator("#indexed")).to_have_text(re.compile(r"^\d+ indexed$"), timeout=60_000)
    page.get_by_role("searchbox").fill("zebras")
    expect(page.locator("#results .name").first).to_contain_text("zebras.jpg")
    page.close()


def test_a_text_is_read_in_the_lightbox(
    browser: Browser, photos: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("Zebras at the river.\n\nThey drink, and look up.")
    command = [*COMMAND, "index", str(tmp_path / "note.txt"), str(photos / "zebras.jpg"), "--documents", "--quiet"]
    index = str(tmp_path / "index.db")
    subprocess.run([*command, "--index", index], env=environment, check=True, capture_output=True)
    with running(["ui", "--no-open", "--index", index], environment) as (address, _):
        page = browser.new_page(locale="en-US")
        page.goto(f"{address}/?q=zebras")
        page.locator("#results a", has_text="note.txt").click()
        expect(page.locator("#snippet")).to_have_text("Zebras at the river.\nThey drink, and look up.")
        expect(page.locator("#large")).to_be_hidden()
        page.keyboard.press("Escape")
        page.locator("#results a", has_text="zebras.jpg").click()
        expect(page.locator("#snippet")).to_be_hidden()
        expect_drawn(page, "#large")
        page.close()


def test_an_image_stays_asked_for_while_filters_are_set(page: Page, photos: Path) -> None:
    page.get_by_label("Choose an image").set_input_files(photos / "dog.jpg")
    expect(page.get_by_role("status")).to_contain_text("Similar to an image")
    expect(page.locator("#results .name").first).to_have_text("dog.jpg")
    page.get_by_text("Filters").click()
    page.get_by_label("taken on or after").fill("2024-01-01")
    expect(page.locator("#results li")).to_have_count(1)
    page.get_by_label("taken on or after").fill("")
    expect(page.locator("#results li")).not_to_have_count(1)
    expect(page.locator("#results .name").first).to_have_text("dog.jpg")
    expect(page.get_by_role("status")).to_contain_text("Similar to an image")


def test_similar_ones_can_be_left(page: Page) -> None:
    page.get_by_role("searchbox").fill("a panda")
    expect(page.locator("#results .name").first).to_have_text("panda.jpg")
    page.locator("#results a").first.click()
    page.get_by_role("link", name="Similar ones").click()
    expect(page.locator("#like")).to_be_visible()
    page.get_by_text("Filters").click()
    page.get_by_label("taken before").fill("2030-01-01")
    expect(page.locator("#results .name").first).to_have_text("dog.jpg")  # the one that has a date
    page.get_by_role("searchbox").fill("dog")
    expect(page.locator("#like")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("dog")


def test_without_javascript(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, locale="en-US")
    page = context.new_page()
    page.goto(address)
    page.get_by_role("searchbox").fill("a panda")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#results .name").first).to_have_text("panda.jpg")
    page.locator("#results a").first.click()
    expect(page.locator("#results .name").first).to_have_text("panda.jpg")
    assert "like=" in page.url
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, address: str, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale="en-US")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{address}/?q=a+dog&after=2000-01-01")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(f"{address}/?q=a+dog")
    columns = page.evaluate(
        "getComputedStyle(document.getElementById('results')).gridTemplateColumns.split(' ').length"
    )
    assert columns >= 2
    page.locator("#results a").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_chinese(browser: Browser, address: str) -> None:
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_role("button", name="搜索")).to_be_visible()
    page.get_by_role("searchbox").fill("斑马")
    expect(page.get_by_role("status")).to_contain_text("最接近的在前")
    context.close()


def test_the_playground(browser: Browser, address: str, photos: Path) -> None:
    page = browser.new_page(locale="en-US")
    page.goto(f"{address}/playground")
    page.get_by_label("Texts, one a line").fill("a panda\nзебры")
    page.locator("#images").set_input_files([photos / "panda.jpg", photos / "zebras.jpg"])
    expect(page.locator("#chosen li")).to_have_count(2)
    page.get_by_label("numbers of a vector").select_option("64")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#result td[class^=shade]")).to_have_count(16)
    cells = [float(text) for text in page.locator("#result td[class^=shade]").all_inner_texts()]
    assert cells[2] > cells[3], "the panda's photo is closer to the panda"
    assert cells[7] > cells[6], "the zebras' photo is closer to the zebras"
    expect(page.locator("#result")).to_contain_text("/v1/embeddings")
    page.get_by_role("button", name="panda.jpg ×").click()
    expect(page.locator("#chosen li")).to_have_count(1)
    page.close()


VIEWS = ("nothing asked", "results", "filters", "similar", "lightbox", "lightbox with where", "a failure", "playground")


def show(page: Page, address: str, view: str, photo: Path) -> None:
    """Bring the page into a state."""
    if view == "playground":
        page.goto(f"{address}/playground")
        page.get_by_label("Texts, one a line").fill("a panda\nзебры\n一只猫")
        page.locator("#images").set_input_files(photo)
        page.get_by_role("button", name="Compare").click()
        expect(page.locator("#result td[class^=shade]")).to_have_count(16)
        page.locator("#result summary").first.click()
        return
    page.goto({"nothing asked": address, "a failure": f"{address}/?start=x"}.get(view, f"{address}/?q=a+dog"))
    if view == "filters":
        page.get_by_text("Filters").click()
    if view == "similar":
        page.goto(urljoin(f"{address}/", page.locator("#results a").first.get_attribute("href")))
    if view.startswith("lightbox"):
        page.locator("#results a").first.click()
        expect_drawn(page, "#large")
    if view.endswith("where"):
        page.get_by_role("button", name="Where is it seen?").click()
        expect(page.locator("#large")).not_to_have_class("busy", timeout=30_000)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_in_the_way(
    browser: Browser, address: str, photos: Path, view: str, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale="en-US")  # type: ignore[arg-type]
    page = context.new_page()
    show(page, address, view, photos / "panda.jpg")
    found = Axe().run(page)
    context.close()
    assert found.response["violations"] == [], found.generate_report()
