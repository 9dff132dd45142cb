"""A cut is never silent: one warning a call.

A file of its own, because an encoder of this process and one over HTTP share it.
"""

from __future__ import annotations

import warnings

from babelclip.errors import TruncationWarning
from babelclip.prepare.text import Tokenized


class Cuts:
    """Adds up what the token limit cost the texts of one call."""

    def __init__(self) -> None:
        self._num_texts = 0
        self._num_cut = 0
        self._num_dropped = 0
        self._longest = 0
        self._limit = 0
        self._by_server = False

    def add(self, tokenized: Tokenized) -> None:
        """Count some of the call's texts."""
        self._num_texts += len(tokenized.token_ids)
        self._num_cut += tokenized.num_cut
        self._num_dropped += tokenized.num_dropped
        self._longest = max(self._longest, tokenized.longest)
        self._limit = tokenized.max_tokens

    def add_by_server(self) -> None:
        """A server has cut some of the call's texts; it does not say how many."""
        self._by_server = True

    def warn(self, stacklevel: int) -> None:
        """Warn if anything was cut, at the caller that ``stacklevel`` names (1: who calls this)."""
        if self._by_server:
            warnings.warn(
                "texts were longer than the model reads and the server has cut them",
                TruncationWarning,
                stacklevel=stacklevel + 1,
            )
        if self._num_cut:
            warnings.warn(
                f"{self._num_cut:,} of {self._num_texts:,} texts were cut to {self._limit:,} tokens: "
                f"{self._num_dropped:,} tokens are not in the vectors, the longest text had {self._longest:,}. "
                "Split long texts to embed all of them.",
                TruncationWarning,
                stacklevel=stacklevel + 1,
            )
