"""What may stand behind the ``?`` of an address: each route names its parameters, and any other is refused.

What the page does not know would mean nothing, and who wrote it would take the answer for another one than it is. Of a
name that is given twice one value would be passed over.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi import Depends, Request

from babelclip.errors import ConfigError
from babelclip.web.locale import TRANSLATIONS

LANGUAGE = "lang"
SEARCH = ("q", "in", "like", "after", "before", "kind", "start", LANGUAGE)
_MAX_SHOWN = 80
"""Characters of a name that a message repeats."""


def takes(*names: str) -> Any:
    """What a route depends on so that it takes these parameters alone.

    Raises:
        ConfigError: when it is asked with another one, with one twice, or for a language that there is not.
    """

    async def check(request: Request) -> None:
        given = request.query_params.multi_items()
        for name, count in Counter(name for name, _ in given).items():
            if name not in names:
                known = f"expected {', '.join(names)}" if names else "there are none here"
                raise ConfigError(f"unknown parameter {name[:_MAX_SHOWN]!r} in the address: {known}")
            if count > 1:
                raise ConfigError(f"the address has {name} {count} times: give it once")
        language = request.query_params.get(LANGUAGE)
        if language and language not in TRANSLATIONS:
            raise ConfigError(f"{LANGUAGE} must be one of {', '.join(TRANSLATIONS)}")

    return Depends(check)
