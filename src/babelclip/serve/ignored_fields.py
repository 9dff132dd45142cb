"""Fields of a body that mean nothing here: none is ignored in silence.

What is known and has no effect (OpenAI's ``user``, a task that the model does not have, a name that another one
overrides) is named in a header. What nobody knows is named too, or refused where the operator wants that; what would
change vectors elsewhere is refused always.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from pydantic import BaseModel

from babelclip.serve.errors import FieldError, InvalidInput
from babelclip.serve.foreign_fields import refused_fields

HEADER = "X-Ignored-Fields"
MAX_NAMES = 20  # of one answer; how many more there were is told
MAX_NAME = 80  # characters of one
_PLAIN = "".join(map(chr, range(32, 127))).replace(",", "").replace("%", "")  # sent as they are; the rest in %XX
_INDEX = re.compile(r"\[\d+\]")


class IgnoredFields:
    """The names of one request."""

    def __init__(self, *, strict: bool) -> None:
        """Nothing is ignored yet.

        Args:
            strict: fields that nobody knows are refused.
        """
        self._strict = strict
        self._names: set[str] = set()

    def add(self, name: str, *, when: bool = True) -> None:
        """A field that is known, and has no effect."""
        if when:
            self._names.add(name)

    def add_unknown(self, names: Iterable[str]) -> None:
        """Fields that nobody knows, as paths; one that many items of a list have is named once.

        Raises:
            InvalidInput: they are not to pass.
        """
        found = sorted({_INDEX.sub("[]", name) for name in names})
        if found and self._strict:
            raise InvalidInput([FieldError(_written(name), "unknown field", "extra_forbidden") for name in found])
        self._names.update(found)

    def add_extra(self, body: BaseModel, prefix: str = "") -> None:
        """The fields of a body that its schema does not have.

        Raises:
            InvalidInput: they are not to pass.
        """
        known = sorted(set(type(body).model_fields) - {"user", "priority"})
        if refused := refused_fields(body.model_extra or {}, known, prefix):
            raise InvalidInput(refused)
        self.add_unknown(f"{prefix}{name}" for name in body.model_extra or ())

    def headers(self) -> dict[str, str]:
        """The header that names them; none where there are none."""
        names = sorted(map(_written, self._names))
        if not names:
            return {}
        more = [f"+{len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else []
        return {HEADER: ", ".join([*names[:MAX_NAMES], *more])}


def _written(name: str) -> str:
    """A name as a header can carry it, and a reader take the header apart."""
    return quote(name, safe=_PLAIN, errors="surrogatepass")[:MAX_NAME]
