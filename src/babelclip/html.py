"""HTML out of templates: the one way for pages, contact sheets and the demonstration.

A template is a file beside the code that fills it, and is named by its path in this package. Whatever a template is
given is escaped, and a name that it is not given is an error, not an empty place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATE_ROOT = Path(__file__).parent


def render_html(template: str, **values: object) -> str:
    """A filled template.

    Args:
        template: such as ``demo/page.html``.
        values: by the names that the template knows them by.

    Raises:
        UndefinedError: the template names what it is not given.
        ValueError: a link leads elsewhere than to the web.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_ROOT),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters["web_address"] = _web_address
    return environment


def _web_address(address: str) -> str:
    """What may stand as a link: escaping does not take the sting out of ``javascript:``."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"expected a link that begins with http:// or https://, found {address!r}")
    return address
