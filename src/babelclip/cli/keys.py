"""``babelclip keys``: API keys of a server, and the tokens that they may spend. A running server follows at once."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from babelclip.cli.options import JsonOption
from babelclip.cli.plain_output import on_one_line

if TYPE_CHECKING:
    from babelclip.serve.access.keys import Key

app = App(name="keys", help="Create, top up, change, list and revoke API keys of a server, and show what they used.")

AtLeastOne = Parameter(validator=Number(gte=1))


@app.command
def create(
    label: str,
    /,
    *,
    keys: Path,
    balance: int | Literal["unlimited"] = 1_000_000,
    requests_per_minute: int | Literal["unlimited"] = 500,
    tokens_per_minute: int | Literal["unlimited"] = 1_000_000,
    concurrency: int | Literal["unlimited"] = 5,
    dim: Annotated[int | None, AtLeastOne] = None,
    json_lines: JsonOption = False,
) -> int:
    """Make a key and print its secret, which is shown this once: only a hash of it is kept.

    Args:
        label: Whose key it is, for lists.
        keys: File of API keys; made when there is none.
        balance: Prepaid tokens.
        requests_per_minute: How many requests the key may send in a minute.
        tokens_per_minute: How many tokens the key may use in a minute.
        concurrency: How many requests the key may have under way at once.
        dim: Width of the vectors: of requests that name none; the model's own when left out.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object with the key and its secret.
    """
    from babelclip.serve.access.keys import KeyFile
    from babelclip.serve.access.rate_limits import Rates

    rates = Rates(
        requests_per_minute=limit(requests_per_minute),
        tokens_per_minute=limit(tokens_per_minute),
        concurrency=limit(concurrency),
    )
    with KeyFile(keys, create=True) as file:
        key, secret = file.add(label, default_dim=dim, rates=rates, balance=limit(balance))
    if json_lines:
        print(json.dumps(settings(key) | {"secret": secret}, ensure_ascii=False))
    else:
        print(secret)
        print(f"key {key.id} ({on_one_line(key.label)}); the secret above is shown this once", file=sys.stderr)
    return 0


@app.command
def topup(key_id: str, tokens: Annotated[int, AtLeastOne], /, *, keys: Path) -> int:
    """Add prepaid tokens to a key.

    Args:
        key_id: The key's id, from babelclip keys list.
        tokens: How many to add.
        keys: File of API keys.
    """
    from babelclip.serve.access.keys import KeyFile

    with KeyFile(keys) as file:
        _show(file.top_up(key_id, tokens))
    return 0


@app.command
def change(
    key_id: str,
    /,
    *,
    keys: Path,
    requests_per_minute: int | Literal["unlimited"] | None = None,
    tokens_per_minute: int | Literal["unlimited"] | None = None,
    concurrency: int | Literal["unlimited"] | None = None,
    dim: Annotated[int, AtLeastOne] | Literal["model"] | None = None,
) -> int:
    """Change what a key may; what is left out stays as it is. It holds from the key's next request on.

    Args:
        key_id: The key's id, from babelclip keys list.
        keys: File of API keys.
        requests_per_minute: How many requests the key may send in a minute.
        tokens_per_minute: How many tokens the key may use in a minute.
        concurrency: How many requests the key may have under way at once.
        dim: Width of the vectors: of requests that name none; with the word model, the model's own.
    """
    from babelclip.serve.access.keys import KeyFile
    from babelclip.serve.access.rate_limits import Rates

    with KeyFile(keys) as file:
        key = file.get(key_id)
        now = key.rates
        rates = Rates(
            requests_per_minute=_changed(requests_per_minute, now.requests_per_minute),
            tokens_per_minute=_changed(tokens_per_minute, now.tokens_per_minute),
            concurrency=_changed(concurrency, now.concurrency),
        )
        width = key.default_dim if dim is None else None if dim == "model" else dim
        _show(file.change(key_id, default_dim=width, rates=rates))
    return 0


@app.command(name="list")
def list_keys(*, keys: Path, json_lines: JsonOption = False) -> int:
    """List all keys with their limits and balances.

    Args:
        keys: File of API keys.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per key.
    """
    from babelclip.serve.access.keys import KeyFile

    with KeyFile(keys) as file:
        found = file.all()
    for key in found:
        if json_lines:
            print(json.dumps(settings(key), ensure_ascii=False))
        else:
            _show(key)
    return 0


@app.command
def revoke(key_id: str, /, *, keys: Path) -> int:
    """Make a key invalid for ever. What it used stays on record.

    Args:
        key_id: The key's id, from babelclip keys list.
        keys: File of API keys.
    """
    from babelclip.serve.access.keys import KeyFile

    with KeyFile(keys) as file:
        _show(file.revoke(key_id))
    return 0


@app.command
def usage(key_id: str | None = None, /, *, keys: Path, json_lines: JsonOption = False) -> int:
    """Show what keys have used since they were made, and what they have left.

    Args:
        key_id: The key's id, from babelclip keys list; all keys when left out.
        keys: File of API keys.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per key.
    """
    from babelclip.serve.access.keys import KeyFile

    with KeyFile(keys) as file:
        found = file.all() if key_id is None else [file.get(key_id)]
    for key in found:
        if json_lines:
            print(json.dumps(used(key), ensure_ascii=False))
        else:
            show_used(key)
    return 0


def _changed(asked: int | Literal["unlimited"] | None, now: int | None) -> int | None:
    return now if asked is None else limit(asked)


def limit(value: int | Literal["unlimited"]) -> int | None:
    """An option as the library takes it."""
    return None if value == "unlimited" else value


def settings(key: Key) -> dict[str, Any]:
    """What a key is and may; ``None`` is no limit."""
    return {
        "id": key.id,
        "label": key.label,
        "created": when(key.created),
        "revoked": when(key.revoked),
        "dim": key.default_dim,
        "requests_per_minute": key.rates.requests_per_minute,
        "tokens_per_minute": key.rates.tokens_per_minute,
        "concurrency": key.rates.concurrency,
        "balance": key.balance,
    }


def used(key: Key) -> dict[str, Any]:
    """What a key has used and has left; ``None`` is no limit, or never."""
    return {
        "id": key.id,
        "label": key.label,
        "requests": key.requests,
        "text_tokens": key.usage.text_tokens,
        "image_tokens": key.usage.image_tokens,
        "total_tokens": key.usage.total,
        "last_used": when(key.last_used),
        "balance": key.balance,
    }


def _show(key: Key) -> None:
    """A key to read."""
    state = "in force" if key.revoked is None else f"revoked {when(key.revoked)}"
    print(f"{key.id}  {on_one_line(key.label)}  ({state})")
    rates = key.rates
    print(
        f"  balance {count(key.balance)} tokens; at most {count(rates.requests_per_minute)} requests and "
        f"{count(rates.tokens_per_minute)} tokens a minute, {count(rates.concurrency)} requests at once; "
        f"dim {'of the model' if key.default_dim is None else key.default_dim}; created {when(key.created)}"
    )


def show_used(key: Key) -> None:
    """What a key has used, to read."""
    print(f"{key.id}  {on_one_line(key.label)}")
    print(
        f"  {key.requests:,} requests, {key.usage.total:,} tokens (text {key.usage.text_tokens:,}, "
        f"images {key.usage.image_tokens:,}); balance {count(key.balance)}; last used {when(key.last_used) or 'never'}"
    )


def count(value: int | None) -> str:
    """A limit as people write it."""
    return "unlimited" if value is None else f"{value:,}"


def when(seconds: int | None) -> str | None:
    """A time as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
