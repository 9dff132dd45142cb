"""Every page of docs/clients is tried in every case, by a list that is read from the folder: a new page has to be too.

This runs without the clients, in ``make test``; the cases run in ``make test-real``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "journeys"))
sys.path.insert(0, str(Path(__file__).parent))
import test_beyond_one_call
import test_clients
import test_forgotten_settings
import test_sdk_parameters
import test_widths_and_types
from environments import ROOT
from page_edits import LONG_TEXTS, TYPES, WIDTHS

FOLDER = ROOT / "docs" / "clients"
PAGES = sorted(page.stem for page in FOLDER.glob("*.md") if page.stem != "README")
CONTAINERS = {"sagemaker": "/invocations", "weaviate": "/vectorize"}
"""No client runs here: ``tests/unit/serve/test_containers.py`` sends what they send, in every case."""
CASES = {
    "vectors": test_clients.test_vectors_are_the_librarys,
    "errors": test_clients.test_errors_are_the_clients_own,
    "many, over-long, empty, a second process": test_beyond_one_call.test_more_than_512_a_long_one_and_an_empty_one,
    "twenty at once": test_beyond_one_call.test_twenty_at_once,
    "without the address": test_forgotten_settings.test_a_page_says_where_texts_go_without_the_address,
    "another width": test_widths_and_types.test_another_width,
    "a long text": test_widths_and_types.test_a_long_text_is_cut_as_the_table_says_or_an_error,
    "parameters": test_sdk_parameters.test_an_sdk_sends_what_was_recorded,
}


def tried(case: object) -> set[str]:
    """The clients that a test is run with."""
    marks = [mark for mark in getattr(case, "pytestmark", []) if mark.name == "parametrize"]
    (names,) = (mark.args[1] for mark in marks if mark.args[0] == "client")
    return set(names)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_tried_in_every_case(page: str) -> None:
    if page in CONTAINERS:
        tests = (ROOT / "tests" / "unit" / "serve" / "test_containers.py").read_text(encoding="utf-8")
        assert f'"{CONTAINERS[page]}"' in tests
        return
    assert [name for name, case in CASES.items() if page not in tried(case)] == []
    typed = page in tried(test_widths_and_types.test_another_type)
    assert typed or TYPES[page].said == "float alone"


def test_the_table_of_the_pages_is_what_is_tried() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[[^]]*\]\(([\w-]+)\.md\) \| (.*) \| (.*) \| (.*) \|$", readme, flags=re.MULTILINE)
    table = {page: cells for page, *cells in rows if page in WIDTHS and not set(cells) & {"yes", "no"}}
    wanted = {page: [edit[page].said for edit in (WIDTHS, TYPES, LONG_TEXTS)] for page in PAGES if page in WIDTHS}
    assert table == wanted
