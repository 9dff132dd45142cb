"""What goes wrong again and again costs one line a minute: a client can make it happen as often as it likes.

The first time is told at once. The line a minute later says how many there were in between.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

SECONDS = 60.0
MAX_KINDS = 256  # of lines that are remembered; the longest unseen are forgotten
LOGGERS = ("babelclip.serve", "uvicorn.error", "asyncio")
"""Those that write what a client can cause: our own, the HTTP server's, and the event loop's (failed accepts)."""


class OncePerMinute(logging.Filter):
    """Lets warnings and errors of one kind through once a minute; lines about single requests always."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # when it was last told, how many since

    def filter(self, record: logging.LogRecord) -> bool:
        """As ``logging.Filter``."""
        if record.levelno < logging.WARNING:
            return True
        kind, now = _kind(record), self._clock()
        told, since = self._kinds.pop(kind, (-SECONDS, 0))
        if now - told < SECONDS:
            self._kinds[kind] = told, since + 1
            return False
        self._kinds[kind] = now, 0
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        if since:
            record.fields = {**getattr(record, "fields", {}), "also_since_last_line": since}
        return True


def _kind(record: logging.LogRecord) -> Hashable:
    """What two records have in common that say the same; a message of its own each would make it another."""
    fields = getattr(record, "fields", {})
    error = record.exc_info[0] if record.exc_info else None
    return record.name, record.levelno, str(record.msg)[:80], error, fields.get("kind"), str(fields.get("way"))[-200:]


def limit_repeated_lines() -> None:
    """From here on, in this process; a second call changes nothing."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, OncePerMinute) for each in logger.filters):
            logger.addFilter(OncePerMinute())
