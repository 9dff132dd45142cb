"""The request to the API that gives what the playground shows, as a line for the shell.

A file of its own, because the commands that run the page say which API is meant.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_ARGUMENT = 100_000
"""Bytes; Linux takes 128 KiB as one argument."""


@dataclass(frozen=True, slots=True)
class Api:
    """A server of the API."""

    url: str = "http://localhost:8080/v1"  # "": of the server that shows the request
    needs_key: bool = False  # it is then put in by the shell, from BABELCLIP_KEY


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image of the request, by the name of its file in the folder where the line is run."""

    name: str


def curl_line(api: Api, model: str, items: Sequence[str | ImageFile], dim: int) -> str:
    """A line for any shell of POSIX.

    Images are read from their files and go through a pipe: as an argument most photos are too long.
    """
    key = ' -H "Authorization: Bearer $BABELCLIP_KEY"' if api.needs_key else ""
    address = f"curl {shlex.quote(f'{api.url}/embeddings')} -H 'Content-Type: application/json'{key}"
    parts = [f'{{"model": {_json(model)}, "dimensions": {dim}, "truncate": true, "input": [']
    steps = []
    for index, item in enumerate(items):
        comma = ", " if index else ""
        if isinstance(item, str):
            parts.append(f'{comma}{{"text": {_json(item)}}}')
        else:
            parts.append(f'{comma}{{"image": "')
            steps += [_print(parts), f"base64 < {shlex.quote(item.name)} | tr -d '\\n'"]
            parts = ['"}']
    parts.append("]}")
    body = "".join(parts)
    if not steps and len(body.encode()) < LONGEST_ARGUMENT:
        return f"{address} -d {shlex.quote(body)}"
    return f"{{ {'; '.join([*steps, _print(parts)])}; }} |\n{address} --data-binary @-"


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _print(parts: Sequence[str]) -> str:
    return f"printf %s {shlex.quote(''.join(parts))}"  # built into the shell: as long as it likes
