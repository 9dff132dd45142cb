"""Templates escape what they are given, and miss what they are not given."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from babelclip.html import TEMPLATE_ROOT, render_html


def test_every_template_is_found_by_its_path() -> None:
    names = [path.relative_to(TEMPLATE_ROOT).as_posix() for path in TEMPLATE_ROOT.rglob("*.html")]
    assert "demo/page.html" in names
    for name in names:
        with pytest.raises(UndefinedError):  # so it is a template that is given something
            render_html(name)


def test_a_value_is_text_and_never_markup() -> None:
    page = render_html("search/contact_sheet.html", title="<b>'\"&", groups=[], facts="")
    assert "<title>&lt;b&gt;&#39;&#34;&amp;</title>" in page


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="facts"):
        render_html("search/contact_sheet.html", title="", groups=[])
