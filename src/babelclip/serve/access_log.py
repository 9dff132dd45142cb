"""One line of JSON for every request, on stderr: who, what, how much, how long; never a key, a text, a URL or an image.

What a request was about is told by its route's template, never by its path or query, and an exception by its kind and
the lines it passed, never by its message: either may quote what a client sent.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Scope

from babelclip.serve.metrics import Metrics

LOGGER = logging.getLogger("babelclip.serve")
UNMATCHED = "unmatched"
MAX_FRAMES = 12  # of a failure, the innermost


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, event, and what was given as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """As ``logging.Formatter``."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return orjson.dumps(line, default=str).decode()


class AccessLog:
    """Is told of every request once, when it has ended."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def ended(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request and write its line, with the fields that were added to it."""
        state: Mapping[str, Any] = scope.get("state", {})
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self._metrics.answered(route, status, seconds)
        fields = {
            "request_id": state.get("request_id"),
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            **state.get("log_fields", {}),
        }
        LOGGER.info("request", extra={"fields": fields})

    def refused(self, scope: Scope, code: str) -> None:
        """The request gets an error with this code."""
        self._metrics.refused(code)
        add_log_fields(scope, code=code)

    def failed(self, scope: Scope, error: Exception) -> None:
        """What was not foreseen: its kind and its way, without its message."""
        way = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        fields = {
            "request_id": scope.get("state", {}).get("request_id"),
            "kind": type(error).__name__,
            "way": way[-MAX_FRAMES:],
        }
        LOGGER.error("failure", extra={"fields": fields})


def add_log_fields(scope: Scope, **fields: object) -> None:
    """Add fields to the line of this request."""
    scope.setdefault("state", {}).setdefault("log_fields", {}).update(fields)


def write_to_stderr(requests: bool) -> None:
    """Send the lines to stderr, of requests or only of what goes wrong; else the program's own logging has them."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO if requests else logging.WARNING)
    LOGGER.propagate = False
