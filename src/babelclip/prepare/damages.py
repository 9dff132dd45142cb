"""A damaged image is never used in silence: one warning a call.

A file of its own, because an encoder of this process and one over HTTP share it.
"""

from __future__ import annotations

import warnings

from babelclip.errors import DamagedImageWarning


class Damages:
    """What was wrong with images that were used as far as they could be read.

    Attributes:
        of_last: what is wrong with the image whose result was given last; None: nothing.
    """

    def __init__(self) -> None:
        self.of_last: str | None = None
        self._count = 0

    def note(self, damage: str | None) -> None:
        """Say what is wrong with the image whose result is given next."""
        self.of_last = damage
        self._count += damage is not None

    def warn(self, stacklevel: int) -> None:
        """Warn if any was damaged, at the caller that ``stacklevel`` names (1: who calls this)."""
        if self._count:
            warnings.warn(
                f"{self._count:,} images are cut short or broken: only what could be read of them is in the vectors",
                DamagedImageWarning,
                stacklevel=stacklevel + 1,
            )
