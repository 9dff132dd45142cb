"""A damaged image is never used in silence: one warning a call.

A file of its own, because an encoder of this process and one over HTTP share it.
"""

from __future__ import annotations

import warnings

from babelclip.errors import DamagedImageWarning

_NAMED = 20
"""Images that one warning names, at most."""


class Damages:
    """What was wrong with images that were used as far as they could be read.

    Attributes:
        of_last: what is wrong with the image whose result was given last; None: nothing.
    """

    def __init__(self) -> None:
        self.of_last: str | None = None
        self._count = 0
        self._named: list[str] = []

    def note(self, damage: str | None, name: str) -> None:
        """Say what is wrong with the image whose result is given next (None: nothing), and what it is called."""
        self.of_last = damage
        if damage is not None:
            self._count += 1
            if len(self._named) < _NAMED:
                self._named.append(name)

    def warn(self, stacklevel: int) -> None:
        """Warn if any was damaged, at the caller that ``stacklevel`` names (1: who calls this)."""
        if self._count:
            many = "1 image is" if self._count == 1 else f"{self._count:,} images are"
            rest = f" and {self._count - _NAMED:,} more" if self._count > _NAMED else ""
            warnings.warn(
                f"{many} cut short or broken, and only what could be read counts: {', '.join(self._named)}{rest}",
                DamagedImageWarning,
                stacklevel=stacklevel + 1,
            )
