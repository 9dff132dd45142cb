"""Markup in names of files, folders and models, in texts, queries and addresses: a real Chromium runs none of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.checksums import write_checksums

from .conftest import ALBUM, COMMAND, running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

IMAGE = '"><img src=x onerror=alert(1)>'
HANDLER = "' onmouseover='alert(1)' x='"
SCRIPT = "<script>alert(1)</script>"
NAMES = (f"{IMAGE}.webp", f"{HANDLER}.webp", "{{ 7 * 7 }}<b>.webp", "<script>alert(1)<b>.webp")
ADDRESSES = ("/?q={}", "/?like={}", "/?in={}", "/?kind={}", "/?after={}", "/?start={}", "/?lang={}", "/?q=dog&in={}")
OTHERS = (
    "/playground?texts={}",
    "/playground?texts=a&dim={}",
    "/thumbnail/{}",
    "/where/{}?q=a",
    "/where/1?q={}",
    "/{}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and a text, under such names and with such content."""
    folder = tmp_path_factory.mktemp("photos") / IMAGE
    folder.mkdir()
    for name, photo in zip(NAMES, ("dog", "zebras", "cat", "lighthouse"), strict=True):
        shutil.copy(ALBUM / f"{photo}.webp", folder / name)
    (folder / f"{IMAGE}.txt").write_text(f"A dog. {SCRIPT} {IMAGE}")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model under such a name."""
    model = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(bundled_folder(), model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "name": IMAGE}))
    (model / "reading.json").unlink()  # of the other name
    write_checksums(model)
    return model


@pytest.fixture(scope="module")
def address(folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "BABELCLIP_INDEX": str(home / "index.db"), "BABELCLIP_CACHE": str(home / "cache")}
    options = ["--model", str(model), "--runtime", "torch"]  # graphs of this name would have to be exported first
    command = [*COMMAND, "index", str(folder), "--documents", "--quiet", *options]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    with running(["ui", "--no-open", *options], environment) as (address, _):
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test for a dialog, a word on the console, or an element that no template has."""
    page = browser.new_page(locale="en-US")
    complaints: list[str] = []
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type in ("error", "warning") and "the server responded with a status of" not in message.text
            else None
        ),
    )
    yield page
    page.close()
    assert complaints == []


def expect_no_foreign_element(page: Page) -> None:
    """Pictures are this server's, the one script is its own, and nothing handles events by an attribute."""
    foreign = page.evaluate(
        """() => [
            ...document.querySelectorAll("img[src]:not([src^='thumbnail/'], [src^='picture/']), b, style"),
            ...document.querySelectorAll("script:not([src^='static/'])"),
            ...[...document.querySelectorAll("*")].filter(
                (each) => [...each.attributes].some(({ name }) => name.startsWith("on"))),
        ].map((each) => each.outerHTML)"""
    )
    assert foreign == []


def test_names_and_texts_of_files(page: Page, address: str, folder: Path) -> None:
    page.goto(f"{address}/?q=a+dog")
    names = page.locator("#results .name").all_inner_texts()
    assert sorted(names) == sorted(file.name for file in folder.iterdir())
    expect_no_foreign_element(page)
    for place in range(len(names)):
        page.locator("#results a").nth(place).click()
        expect(page.locator("#shown")).to_have_text(str(folder / names[place]))
        if names[place].endswith(".txt"):
            expect(page.locator("#snippet")).to_contain_text(SCRIPT)
        expect_no_foreign_element(page)
        page.keyboard.press("Escape")


def test_results_that_come_as_one_types(page: Page, address: str, folder: Path) -> None:
    page.goto(address)
    page.get_by_role("searchbox").fill(f"a dog {IMAGE} {SCRIPT}")
    expect(page.get_by_role("status")).to_contain_text("best first")
    page.get_by_text("Filters").click()
    page.get_by_label("folder").select_option(str(folder))
    expect(page).to_have_url(re.compile("[?&]in="))
    expect(page.locator("#results li")).to_have_count(len(NAMES) + 1)
    page.locator("#results a").first.hover()
    expect_no_foreign_element(page)
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value(f"a dog {IMAGE} {SCRIPT}")
    expect(page.get_by_label("folder")).to_have_value(str(folder))
    expect_no_foreign_element(page)


@pytest.mark.parametrize("path", [*ADDRESSES, *OTHERS])
def test_whatever_stands_in_an_address(page: Page, address: str, path: str) -> None:
    for payload in (IMAGE, HANDLER, SCRIPT, "</textarea><img src=x onerror=alert(1)>", "{{ 7 * 7 }}"):
        page.goto(address + path.format(quote(payload, safe="")))
        expect_no_foreign_element(page)


def test_the_playground_with_names_of_images_and_of_the_model(page: Page, address: str, folder: Path) -> None:
    page.goto(f"{address}/playground")
    page.get_by_label("Texts, one a line").fill(f"{SCRIPT}\n{IMAGE}\n</textarea>{HANDLER}")
    page.locator("#images").set_input_files([folder / name for name in NAMES])
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#result td[class^=shade]")).to_have_count((3 + len(NAMES)) ** 2)
    expect(page.locator("#result")).to_contain_text(f'"model": {json.dumps(IMAGE)}')
    expect(page.locator("#chosen")).to_contain_text(IMAGE)
    expect_no_foreign_element(page)


def test_what_went_wrong_is_told_as_text(page: Page, address: str) -> None:
    """The message of a failing request comes from the server, and is shown by the script."""
    page.goto(address)
    page.route("**/results*", lambda route: route.fulfill(status=400, json={"detail": IMAGE}))
    page.get_by_role("searchbox").fill("a dog")
    expect(page.get_by_role("status")).to_have_text(f"That did not work: {IMAGE}")
    expect_no_foreign_element(page)
