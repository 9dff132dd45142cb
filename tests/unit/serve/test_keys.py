"""The file of keys: secrets, changes by other processes, charges, and files that are not one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from babelclip.errors import ConfigError
from babelclip.serve.access.key_schema import MAX_BALANCE, KeyFileError
from babelclip.serve.access.keys import STARTING_BALANCE, STARTING_RATES, KeyFile, secret_from
from babelclip.serve.access.rate_limits import Rates
from babelclip.serve.errors import InvalidKey, MalformedKey, MissingKey
from babelclip.serve.pricing import Usage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys of 100%?#.db"  # a name that a URI must escape


@pytest.fixture
def keys(path: Path) -> Iterator[KeyFile]:
    with KeyFile(path, create=True, clock=lambda: 1_800_000_000.7) as file:
        yield file


def test_a_new_key(keys: KeyFile, path: Path) -> None:
    key, secret = keys.add("Anna")
    assert keys.find(secret) == key == keys.get(key.id)
    assert (key.label, key.created, key.revoked, key.default_dim) == ("Anna", 1_800_000_000, None, None)
    assert (key.balance, key.rates) == (STARTING_BALANCE, STARTING_RATES) == (1_000_000, STARTING_RATES)
    assert (key.requests, key.usage, key.last_used) == (0, Usage(), None)
    assert secret.startswith("bc_")
    assert len(secret) == 46
    assert secret not in repr(key)
    if os.name == "posix":
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_a_key_as_it_was_asked_for(keys: KeyFile) -> None:
    rates = Rates(requests_per_minute=7, tokens_per_minute=8, concurrency=9)
    key, _ = keys.add("Ὀδυσσεύς 黎明", default_dim=64, rates=rates, balance=5)
    free, _ = keys.add("free", rates=Rates(), balance=None)
    assert (key.label, key.default_dim, key.rates, key.balance) == ("Ὀδυσσεύς 黎明", 64, rates, 5)
    assert (free.rates, free.balance) == (Rates(), None)
    assert keys.all() == [key, free]


@pytest.mark.parametrize(
    ("label", "options"),
    [
        ("", {}),
        ("two\nlines", {}),
        ("x" * 201, {}),
        ("a", {"balance": -1}),
        ("a", {"balance": MAX_BALANCE + 1}),
        ("a", {"default_dim": 0}),
        ("a", {"default_dim": 2**70}),
    ],
)
def test_a_key_out_of_range(keys: KeyFile, label: str, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        keys.add(label, **options)  # type: ignore[arg-type]
    assert keys.all() == []


def test_secrets_are_nowhere_on_disk(keys: KeyFile, path: Path) -> None:
    made = [keys.add(f"key {number}")[1] for number in range(3)]
    for secret in made:
        keys.find(secret)
    keys.close()
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"key 2" in stored
    assert not any(part.encode() in stored for secret in made for part in (secret, secret[3:], secret[3:15]))


def test_a_key_off_by_one_character(keys: KeyFile) -> None:
    key, secret = keys.add("Anna")
    for place, character in enumerate(secret):
        wrong = secret[:place] + ("A" if character != "A" else "B") + secret[place + 1 :]
        with pytest.raises(InvalidKey) as caught:
            keys.find(wrong)
        assert wrong not in str(caught.value)
    for wrong in ("", "bc_", key.id, secret[:-1], f"{secret}A", secret.upper(), "黎明", "\udcff", "x" * 100_000):
        with pytest.raises(InvalidKey):
            keys.find(wrong)
    assert (InvalidKey.status, InvalidKey.code) == (401, "AUTH_INVALID_API_KEY")
    assert keys.find(secret) == key


def test_the_comparison_that_decides_takes_constant_time(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = keys.add("Anna")
    monkeypatch.setattr("hmac.compare_digest", lambda *_: False)
    with pytest.raises(InvalidKey):
        keys.find(secret)


def test_another_connection_is_seen_at_once(keys: KeyFile, path: Path) -> None:
    key, secret = keys.add("Anna", balance=10)
    with KeyFile(path, clock=lambda: 1_900_000_000) as other:
        assert other.find(secret) == key
        assert other.top_up(key.id, 5).balance == keys.find(secret).balance == 15
        new, new_secret = other.add("Bert")
        assert keys.find(new_secret) == new
        other.revoke(key.id)
        with pytest.raises(InvalidKey, match="was revoked"):
            keys.find(secret)
        assert other.charge([(new.id, Usage(text_tokens=1))]) == [True]
    assert keys.get(key.id).revoked == keys.revoke(key.id).revoked == 1_900_000_000  # the first time stays
    assert keys.get(new.id).balance == STARTING_BALANCE - 1


def test_top_ups_that_are_refused_change_nothing(keys: KeyFile) -> None:
    key, _ = keys.add("Anna", balance=10)
    free, _ = keys.add("free", balance=None)
    gone, _ = keys.add("gone", balance=10)
    keys.revoke(gone.id)
    for tokens in (0, -5, MAX_BALANCE - 9, 2**70):
        with pytest.raises(ConfigError):
            keys.top_up(key.id, tokens)
    for key_id in (free.id, gone.id, "unknown"):
        with pytest.raises(KeyFileError):
            keys.top_up(key_id, 5)
    assert [each.balance for each in keys.all()] == [10, None, 10]
    assert keys.top_up(key.id, MAX_BALANCE - 10).balance == MAX_BALANCE
    for unknown in ("unknown", "", "黎明", "\udcff"):
        with pytest.raises(KeyFileError, match="has no key"):
            keys.revoke(unknown)


def test_charges(keys: KeyFile) -> None:
    key, _ = keys.add("Anna", balance=4_025)
    free, _ = keys.add("free", balance=None)
    usage = Usage(text_tokens=20, image_tokens=4_000)
    charges = [(key.id, usage), (key.id, usage), (free.id, usage), ("unknown", usage), (key.id, Usage(text_tokens=5))]
    assert keys.charge(charges) == [True, False, True, False, True]
    after, free_after = keys.get(key.id), keys.get(free.id)
    assert (after.balance, after.requests, after.usage) == (0, 2, Usage(text_tokens=25, image_tokens=4_000))
    assert (free_after.balance, free_after.requests, free_after.usage) == (None, 1, usage)
    assert after.last_used == 1_800_000_000
    assert keys.charge([(key.id, Usage(text_tokens=1))]) == [False]
    assert keys.charge([(key.id, Usage())]) == [True]  # nothing can be paid with nothing


def test_a_charge_that_fails_half_way_changes_nothing(keys: KeyFile) -> None:
    key, _ = keys.add("Anna", balance=100)
    with pytest.raises(AttributeError):
        keys.charge([(key.id, Usage(text_tokens=1)), (key.id, None)])  # type: ignore[list-item]
    assert keys.get(key.id) == key
    assert keys.charge([(key.id, Usage(text_tokens=1))]) == [True]


CHARGE_OFTEN = """
import sys
from babelclip.serve.pricing import Usage
from babelclip.serve.access.keys import KeyFile
with KeyFile(sys.argv[1]) as keys:
    print("ready", flush=True)
    sys.stdin.readline()
    print([keys.charge([(sys.argv[2], Usage(text_tokens=3))]) for _ in range(40)].count([True]))
"""


def test_two_processes_charging_one_key_lose_nothing(keys: KeyFile, path: Path) -> None:
    key, _ = keys.add("Anna", balance=3 * 70)
    command = [sys.executable, "-c", CHARGE_OFTEN, str(path), key.id]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    charged = [int(process.communicate(timeout=60)[0]) for process in both]
    after = keys.get(key.id)
    assert (sum(charged), after.requests, after.balance) == (70, 70, 0)
    assert after.usage.total == 3 * 70


def test_many_may_make_the_same_file(tmp_path: Path) -> None:
    def make(path: Path) -> str:
        with KeyFile(path, create=True) as file:
            return file.add("key")[0].id

    for path in (tmp_path / str(number) for number in range(8)):
        with ThreadPoolExecutor(6) as pool:
            made = set(pool.map(make, [path] * 6))
        with KeyFile(path) as file:
            assert {key.id for key in file.all()} == made


def test_a_file_without_its_log_is_given_one_when_it_is_free(path: Path) -> None:
    KeyFile(path, create=True).close()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    assert other.execute("PRAGMA journal_mode = DELETE").fetchall() == [("delete",)]  # as a killed maker leaves it
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(KeyFile, path)
        time.sleep(0.05)
        assert not opened.done()
        other.execute("COMMIT")
        opened.result(10).close()
    other.close()
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    other.close()


def text_file(path: Path) -> None:
    path.write_text("anna: secret\n" * 100)


def database_of_others(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE keys (id)")
    connection.close()


def newer_version(path: Path) -> None:
    KeyFile(path, create=True).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file; make a key file with: babelclip keys create"),
        (Path.mkdir, "is not a file"),
        (Path.touch, "is no key file"),
        (text_file, "is no key file"),
        (database_of_others, "is no key file"),
        (newer_version, "version 2, this babelclip reads version 1"),
    ],
)
def test_what_is_no_key_file(path: Path, make: object, said: str) -> None:
    make(path)  # type: ignore[operator]
    if path.is_file():
        path.chmod(0o600)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(KeyFileError, match=said):
        KeyFile(path)
    assert (path.read_bytes() if path.is_file() else None) == before
    if before:  # an empty file may be filled, any other is left alone
        with pytest.raises(KeyFileError, match=said):
            KeyFile(path, create=True)
        assert path.read_bytes() == before


def test_no_folder_to_make_it_in(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be made"):
        KeyFile(tmp_path / "absent" / "keys", create=True)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize(("mode", "refused"), [(0o604, True), (0o666, True), (0o660, False), (0o600, False)])
def test_a_file_open_to_everybody_is_refused(keys: KeyFile, path: Path, mode: int, refused: bool) -> None:
    path.chmod(mode)
    if refused:
        with pytest.raises(KeyFileError, match="run: chmod 600"):
            KeyFile(path)
    else:
        KeyFile(path).close()


def test_a_closed_file_says_so(path: Path) -> None:
    file = KeyFile(path, create=True)
    file.close()
    with pytest.raises(KeyFileError, match="closed"):
        file.all()


@pytest.mark.parametrize("header", ["Bearer bc_x", "bearer  bc_x ", "BEARER bc_x"])
def test_the_secret_in_a_header(header: str) -> None:
    assert secret_from(header) == "bc_x"


@pytest.mark.parametrize(
    ("header", "error", "code"),
    [
        (None, MissingKey, "AUTH_MISSING_API_KEY"),
        ("  ", MissingKey, "AUTH_MISSING_API_KEY"),
        ("Bearer ", MissingKey, "AUTH_MISSING_API_KEY"),
        ("bc_x", MalformedKey, "AUTH_INVALID_FORMAT"),
        ("Basic bc_x", MalformedKey, "AUTH_INVALID_FORMAT"),
        ("Bearer bc_x bc_y", MalformedKey, "AUTH_INVALID_FORMAT"),
    ],
)
def test_headers_without_a_key(header: str | None, error: type[Exception], code: str) -> None:
    with pytest.raises(error) as caught:
        secret_from(header)
    assert (caught.value.status, caught.value.code) == (401, code)  # type: ignore[attr-defined]
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}  # type: ignore[attr-defined]
    assert "bc_" not in str(caught.value)
