"""A connection to a server of the Jina embeddings API: sends JSON, waits where it is told to, says what went wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from babelclip.errors import ServerError
from babelclip.version import __version__

FIRST_PAUSE = 0.5  # seconds before a second try where the server does not say; doubled each time
LEAST_PAUSE = 0.1  # seconds before another try, also where the server says at once
_COME_BACK = (429, 502, 503)  # 502: a proxy whose server is being started
_CUT_SHORT = 500  # characters of a server's message that are repeated
_ITEM_CODES = ("INPUT_TOKEN_LIMIT_EXCEEDED", "INPUT_INVALID", "INPUT_SIZE_LIMIT_EXCEEDED")


def blames_items(error: ServerError) -> bool:
    """Whether fewer or other items could succeed."""
    return error.code in _ITEM_CODES or any(field.startswith("input") for field in error.fields)


class HttpTransport:
    """Safe to use from several threads, and after a fork. What is pickled is the address and the key."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float,
        patience: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connections to one server.

        Args:
            timeout: seconds for one request.
            patience: seconds to go on trying where the server is busy or away.
        """
        self.url, self._patience, self._sleep = url, patience, sleep
        self._key, self._timeout = key, timeout
        self._open()

    def _open(self) -> None:
        headers = {"User-Agent": f"babelclip/{__version__}", "Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx.Client(headers=headers, timeout=self._timeout, follow_redirects=False)
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_client"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def get(self, path: str) -> Any:
        """The answer to a GET, read as JSON.

        Raises:
            ServerError: no answer, or not the one that was asked for.
        """
        return self._ask("GET", path, None).json()

    def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The answer to a POST, which is JSON.

        Raises:
            ServerError: no answer, or not the one that was asked for.
        """
        return self._ask("POST", path, body)

    def close(self) -> None:
        """Close the connections that are open."""
        self._client.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        if self._process != os.getpid():  # a fork shares its connections, and answers would go to the wrong process
            self._open()
        until = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            error, wait = self._try(method, path, body)
            if not isinstance(error, ServerError):
                return error
            wait = pause if wait is None else max(wait, LEAST_PAUSE)
            if error.status not in (None, *_COME_BACK) or time.monotonic() + wait > until:
                raise error
            self._sleep(wait)
            pause *= 2

    def _try(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[httpx.Response | ServerError, float | None]:
        """The answer or the error, and how long the server asks to wait."""
        where = f"{self.url}{path}"
        try:
            answer = self._client.request(method, where, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return ServerError(f"{where} cannot be reached: {error or type(error).__name__}"), None
        try:
            content = answer.json()
        except (ValueError, RecursionError):  # no JSON, or nested to do harm
            content = None
        if answer.status_code != 200 or not isinstance(content, dict):
            return _error(where, answer.status_code, content), _wait(answer.headers.get("retry-after"))
        return answer, None


def _error(where: str, status: int, content: Any) -> ServerError:
    """What a server of any of these APIs says of an error, as one line."""
    body = content if isinstance(content, dict) else {}
    detail = body.get("detail") if not isinstance(body.get("detail"), dict) else body["detail"].get("message")
    said = next((each for each in (detail, body.get("message")) if isinstance(each, str)), "no JSON with a reason")
    errors = body.get("errors") if isinstance(body.get("errors"), list) else []
    fields = tuple(str(each.get("field")) for each in errors or () if isinstance(each, dict))
    code = body.get("code") if isinstance(body.get("code"), str) else None
    named = f" ({code})" if code else ""
    return ServerError(
        f"{where} answered {status}{named}: {said[:_CUT_SHORT]}", status=status, code=code, fields=fields
    )


def _wait(stated: str | None) -> float | None:
    """Retry-After in seconds, where it is a number or a date; None where it is neither."""
    if stated is None:
        return None
    if stated.isascii() and stated.isdigit():
        return float(stated)
    try:
        return parsedate_to_datetime(stated).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
