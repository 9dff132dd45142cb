"""Templates escape what they are given, and miss what they are not given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from jinja2 import UndefinedError

from babelclip.html import TEMPLATE_ROOT, render_html


def test_every_template_is_found_by_its_path() -> None:
    names = [path.relative_to(TEMPLATE_ROOT).as_posix() for path in TEMPLATE_ROOT.rglob("*.html")]
    assert "demo/page.html" in names
    for name in names:
        with pytest.raises(UndefinedError):  # so it is a template that is given something
            render_html(name)


TAG = re.compile(r"</?(a|b|br|div|html|img|li|ol|p|pre|script|span|style|table|td|th|tr|ul)\b[^<]*>", re.IGNORECASE)


def html_strings(source: str) -> Iterator[str]:
    """Tags in texts, but for docstrings, which are no values."""
    tree = ast.parse(source)
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield from (found[0] for found in TAG.finditer(node.value))


def test_html_is_made_by_templates_alone() -> None:
    found = {path.name: list(html_strings(path.read_text(encoding="utf-8"))) for path in TEMPLATE_ROOT.rglob("*.py")}
    assert {name: tags for name, tags in found.items() if tags} == {}
    assert list(html_strings('"""<p>"""\nx = f"<p>{name}</p>"')) == ["<p>", "</p>"]


def test_no_template_lets_a_value_through_as_it_is() -> None:
    for path in TEMPLATE_ROOT.rglob("*.html"):
        assert re.search(r"\|\s*safe\b|autoescape|\bMarkup\b", path.read_text(encoding="utf-8")) is None, path.name


def test_a_value_is_text_and_never_markup() -> None:
    page = render_html("search/contact_sheet.html", title="<b>'\"&", groups=[], facts="")
    assert "<title>&lt;b&gt;&#39;&#34;&amp;</title>" in page


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="facts"):
        render_html("search/contact_sheet.html", title="", groups=[])
