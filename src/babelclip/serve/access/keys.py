"""API keys: who may ask, how fast, and what each has left. They live in one file (``key_schema``), secrets only hashed.

Every call reads or writes the file itself and nothing is cached, so a key that another process creates, tops up or
revokes counts from the next call on, without a restart.

By hand on sqlite3, without a mapper: it is one table, and what matters (one transaction for many charges, a balance
that never goes below zero, two connections so that nobody who asks waits for the disk) is said in SQL itself.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from babelclip.errors import ConfigError
from babelclip.serve.access.key_schema import MAX_BALANCE, KeyFileError, explained, open_key_file
from babelclip.serve.access.rate_limits import Rates
from babelclip.serve.errors import InvalidKey, MalformedKey, MissingKey
from babelclip.serve.pricing import Usage

SECRET_START = "bc_"  # so that people and secret scanners know one when they see it
_MAX_LABEL = 200  # characters
MAX_DIM = 1_000_000  # wider than any model; what the model in use can give is the server's to check

# What a new key gets: what Jina's release gives with a key, and the rates of its free tier.
STARTING_BALANCE = 1_000_000  # tokens
STARTING_RATES = Rates(requests_per_minute=500, tokens_per_minute=1_000_000, concurrency=5)

_COLUMNS = (
    "id, label, created, revoked, default_dim, requests_per_minute, tokens_per_minute, concurrency, balance, "
    "requests, text_tokens, image_tokens, last_used"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key as the file has it now. Times are seconds since 1970."""

    id: str  # public: names the key in lists and logs
    label: str
    created: int
    revoked: int | None
    default_dim: int | None  # None: the model's own
    rates: Rates
    balance: int | None  # prepaid tokens; None: no limit
    requests: int  # charged ones
    usage: Usage  # of all of them
    last_used: int | None


class KeyFile:
    """The file of keys, open. Safe to use from several threads and next to other processes; not across a fork."""

    def __init__(self, path: str | Path, *, create: bool = False, clock: Callable[[], float] = time.time) -> None:
        """Open the file; ``create`` makes it when there is none.

        Raises:
            KeyFileError: it is absent, damaged, open to others or of another kind.
        """
        self.path = Path(path)
        self._clock = clock
        # Two connections: who looks a key up never waits for a charge on its way to the disk.
        self._write = open_key_file(self.path, create=create)
        self._write_lock = threading.Lock()
        self._read = open_key_file(self.path, create=False)
        self._read_lock = threading.Lock()
        self._read.execute("PRAGMA query_only = ON")

    def add(
        self,
        label: str,
        *,
        default_dim: int | None = None,
        rates: Rates = STARTING_RATES,
        balance: int | None = STARTING_BALANCE,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can learn again.

        Raises:
            ConfigError: a value is out of range.
        """
        if not label.strip() or not label.isprintable() or len(label) > _MAX_LABEL:
            raise ConfigError(f"a label is 1 to {_MAX_LABEL} printable characters, found {label[:_MAX_LABEL]!a}")
        _check_dim(default_dim)
        if balance is not None and not 0 <= balance <= MAX_BALANCE:
            raise ConfigError(f"a balance is 0 to {MAX_BALANCE:,} tokens, found {balance:,}")
        key_id, secret = secrets.token_hex(5), SECRET_START + secrets.token_urlsafe(32)
        limits = (rates.requests_per_minute, rates.tokens_per_minute, rates.concurrency)
        row = (key_id, _digest(secret), label, int(self._clock()), default_dim, *limits, balance)
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO keys (id, digest, label, created, default_dim, requests_per_minute, tokens_per_minute,"
                " concurrency, balance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        return self.get(key_id), secret

    def find(self, secret: str) -> Key:
        """The key with this secret.

        The secret is hashed first: the index compares bytes of a hash, which a caller cannot steer towards a stored
        one, so the time that it takes teaches nothing about any secret; and the comparison that decides takes the
        same time wherever two hashes differ. A plain SHA-256 is enough because secrets are 256 random bits, not words.

        Raises:
            InvalidKey: there is none, or it was revoked.
        """
        digest = _digest(secret)
        for found, *row in self._rows(f"SELECT digest, {_COLUMNS} FROM keys WHERE digest = ?", digest):
            if hmac.compare_digest(found, digest):
                return in_force(_key(row))
        raise InvalidKey

    def get(self, key_id: str) -> Key:
        """The key with this id, revoked or not.

        Raises:
            KeyFileError: there is none.
        """
        rows = self._rows(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", key_id) if key_id.isascii() else ()
        for row in rows:
            return _key(row)
        raise KeyFileError(f"{self.path}: has no key {key_id!a}; babelclip keys list shows those that it has")

    def all(self) -> list[Key]:
        """Every key, oldest first, revoked ones too."""
        return [_key(row) for row in self._rows(f"SELECT {_COLUMNS} FROM keys ORDER BY created, rowid")]

    def top_up(self, key_id: str, tokens: int) -> Key:
        """Add prepaid tokens.

        Raises:
            ConfigError: less than one, or more than a balance can hold; nothing has changed.
            KeyFileError: there is no such key, it was revoked, or it has no limit; nothing has changed.
        """
        if tokens < 1:
            raise ConfigError(f"a top-up is at least 1 token, found {tokens:,}")
        with self._writing() as connection:
            key = self.get(key_id)  # nobody else can change it before this transaction ends
            if key.revoked is not None:
                raise KeyFileError(f"key {key_id} was revoked; create another one")
            if key.balance is None:
                raise KeyFileError(f"key {key_id} has no limit on its balance, so there is nothing to top up")
            if key.balance + tokens > MAX_BALANCE:
                raise ConfigError(f"a balance is at most {MAX_BALANCE:,} tokens; key {key_id} has {key.balance:,}")
            connection.execute("UPDATE keys SET balance = balance + ? WHERE id = ?", (tokens, key_id))
        return self.get(key_id)

    def change(self, key_id: str, *, default_dim: int | None, rates: Rates) -> Key:
        """Give a key another width and other rates from its next request on.

        Raises:
            ConfigError: a value is out of range.
            KeyFileError: there is no such key.
            InvalidKey: it was revoked.
        """
        _check_dim(default_dim)
        limits = (rates.requests_per_minute, rates.tokens_per_minute, rates.concurrency)
        with self._writing() as connection:
            in_force(self.get(key_id))
            connection.execute(
                "UPDATE keys SET default_dim = ?, requests_per_minute = ?, tokens_per_minute = ?, concurrency = ?"
                " WHERE id = ?",
                (default_dim, *limits, key_id),
            )
        return self.get(key_id)

    def revoke(self, key_id: str) -> Key:
        """Make a key invalid for ever; what it used stays on record. Revoking it again changes nothing."""
        with self._writing() as connection:
            revoked = (int(self._clock()), self.get(key_id).id)
            connection.execute("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", revoked)
        return self.get(key_id)

    def charge(self, charges: Sequence[tuple[str, Usage]]) -> list[bool]:
        """Take each usage off its key's balance and add it to its totals. When this returns, it is on the disk.

        All in one transaction. One answer per charge: whether the balance covered it; one that is not covered changes
        nothing. A revoked key is charged: its work was done.

        Raises:
            KeyFileError: the file cannot be written; nothing was charged.
        """
        now = int(self._clock())
        with self._writing() as connection:
            return [_charge(connection, key_id, usage, now) for key_id, usage in charges]

    def close(self) -> None:
        """Close the file; the last one to do so folds the log into it."""
        with self._write_lock, self._read_lock:
            self._read.close()
            self._write.close()

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._read_lock, explained(self.path):
            return self._read.execute(query, values).fetchall()  # all: an unfinished read would see old data for ever

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer is in: committed at the end, undone when anything is raised."""
        with self._write_lock, explained(self.path):
            self._write.execute("BEGIN IMMEDIATE")
            try:
                yield self._write
                self._write.execute("COMMIT")
            except BaseException:
                if self._write.in_transaction:
                    self._write.execute("ROLLBACK")
                raise


def in_force(key: Key) -> Key:
    """The key itself.

    Raises:
        InvalidKey: it was revoked.
    """
    if key.revoked is not None:
        raise InvalidKey("This API key was revoked")
    return key


def _check_dim(default_dim: int | None) -> None:
    if default_dim is not None and not 1 <= default_dim <= MAX_DIM:
        raise ConfigError(f"a default dimension is 1 to {MAX_DIM:,}, found {default_dim:,}")


def secret_from(authorization: str | None) -> str:
    """The secret in an Authorization header.

    Raises:
        MissingKey: there is no header, or nothing in it.
        MalformedKey: it holds something else than a key.
    """
    if authorization is None or not authorization.strip():
        raise MissingKey
    scheme, _, secret = authorization.strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() == "bearer" and not secret:
        raise MissingKey
    if scheme.lower() != "bearer" or len(secret.split()) != 1:
        raise MalformedKey
    return secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _charge(connection: sqlite3.Connection, key_id: str, usage: Usage, now: int) -> bool:
    """Charge and count in one statement; a balance without limit is NULL, and NULL less anything stays NULL."""
    values = {"id": key_id, "total": usage.total, "text": usage.text_tokens, "image": usage.image_tokens, "now": now}
    changed = connection.execute(
        "UPDATE keys SET balance = balance - :total, requests = requests + 1, text_tokens = text_tokens + :text,"
        " image_tokens = image_tokens + :image, last_used = max(coalesce(last_used, 0), :now)"
        " WHERE id = :id AND (balance IS NULL OR balance >= :total)",
        values,
    )
    return changed.rowcount == 1


def _key(row: Sequence[Any]) -> Key:
    """A row in the order of ``_COLUMNS``."""
    key_id, label, created, revoked, default_dim, requests_a_minute, tokens_a_minute, concurrency, balance, *used = row
    requests, text_tokens, image_tokens, last_used = used
    return Key(
        id=key_id,
        label=label,
        created=created,
        revoked=revoked,
        default_dim=default_dim,
        rates=Rates(requests_per_minute=requests_a_minute, tokens_per_minute=tokens_a_minute, concurrency=concurrency),
        balance=balance,
        requests=requests,
        usage=Usage(text_tokens=text_tokens, image_tokens=image_tokens),
        last_used=last_used,
    )
