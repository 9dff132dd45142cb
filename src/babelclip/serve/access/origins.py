"""The web pages that an operator lets ask from a browser, as ``--cors-origin`` names them.

A file of its own because the settings check them, and what acts on them knows the settings.
"""

from __future__ import annotations

import re

from babelclip.errors import ConfigError

ANY = "*"
"""Every page."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#]+")


def check_origin(origin: str) -> None:
    """Whether an operator's origin is one.

    Raises:
        ConfigError: it is not.
    """
    if origin != ANY and not _ORIGIN.fullmatch(origin):
        raise ConfigError(f"--cors-origin: expected an origin as https://app.example.org, or *, found {origin!r}")
