"""Prepaid balances: never overdrawn, never charged twice, kept through SIGKILL."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from babelclip.serve.access.balances import Balances, Reservation
from babelclip.serve.access.key_schema import KeyFileError
from babelclip.serve.access.keys import Key, KeyFile
from babelclip.serve.errors import InsufficientBalance, InvalidKey
from babelclip.serve.pricing import Usage

SIX = Usage(text_tokens=6)


class WatchedKeys(KeyFile):
    """A key file whose charges can be held up before or after they are written, or fail."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.together: list[int] = []  # how many charges went to the disk at once
        self.begun, self.may_write = threading.Event(), threading.Event()
        self.written, self.go_on = threading.Event(), threading.Event()
        self.may_write.set()
        self.go_on.set()
        self.failures: list[BaseException] = []
        self.after_get: Callable[[], object] = int

    def get(self, key_id: str) -> Key:
        key = super().get(key_id)
        self.after_get()
        return key

    def charge(self, charges: Sequence[tuple[str, Usage]]) -> list[bool]:
        if self.failures:
            raise self.failures.pop()
        self.together.append(len(charges))
        self.begun.set()
        assert self.may_write.wait(10)
        covered = super().charge(charges)
        self.written.set()
        assert self.go_on.wait(10)
        return covered


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[WatchedKeys]:
    with WatchedKeys(tmp_path / "keys") as file:
        yield file


@pytest.fixture
def balances(keys: WatchedKeys) -> Balances:
    return Balances(keys)


@pytest.fixture
def anna(keys: WatchedKeys) -> str:
    """The id of a key with ten tokens."""
    return keys.add("Anna", balance=10)[0].id


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_reserve_settle_release(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    first = balances.reserve(anna, 6)
    with pytest.raises(InsufficientBalance, match=r"costs 5 tokens .* 4 left") as caught:
        balances.reserve(anna, 5)
    assert (caught.value.status, caught.value.code) == (403, "AUTHZ_INSUFFICIENT_BALANCE")
    second = balances.reserve(anna, 4)
    balances.release(second)
    balances.release(second)
    balances.settle(first, Usage(text_tokens=1, image_tokens=2))  # less than was reserved
    balances.release(first)
    assert keys.get(anna).balance == 7
    assert keys.get(anna).usage == Usage(text_tokens=1, image_tokens=2)
    balances.settle(balances.reserve(anna, 7), Usage(text_tokens=7))
    assert (keys.get(anna).balance, keys.get(anna).requests) == (0, 2)
    balances.settle(balances.reserve(anna, 0), Usage())


def test_settling_twice_charges_once(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 6)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: balances.settle(reservation, SIX), range(8)))
    balances.settle(reservation, SIX)
    assert (keys.get(anna).balance, keys.get(anna).requests) == (4, 1)
    balances.release(balances.reserve(anna, 4))


def test_misuse(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 6)
    with pytest.raises(ValueError, match="7 tokens were used, and only 6 reserved"):
        balances.settle(reservation, Usage(text_tokens=7))
    balances.release(reservation)
    with pytest.raises(ValueError, match="was released"):
        balances.settle(reservation, SIX)
    with pytest.raises(ValueError, match="counted from 0"):
        balances.reserve(anna, -1)
    assert keys.get(anna).requests == 0


def test_a_key_without_limit(balances: Balances, keys: WatchedKeys) -> None:
    key, _ = keys.add("free", balance=None)
    balances.settle(balances.reserve(key.id, 10**12), SIX)
    assert (keys.get(key.id).balance, keys.get(key.id).usage) == (None, SIX)


def test_threads_never_overdraw(balances: Balances, keys: WatchedKeys) -> None:
    key, _ = keys.add("Anna", balance=1_000)

    def take(_: int) -> list[Reservation]:
        mine = []
        for _ in range(200):
            try:
                mine.append(balances.reserve(key.id, 7))
            except InsufficientBalance:
                break
        return mine

    with ThreadPoolExecutor(12) as pool:
        reserved = [each for mine in pool.map(take, range(12)) for each in mine]
        assert len(reserved) == 142
        list(pool.map(lambda each: balances.settle(each, Usage(text_tokens=7)), reserved))
    assert (keys.get(key.id).balance, keys.get(key.id).requests) == (1_000 - 142 * 7, 142)
    balances.reserve(key.id, 6)


def test_threads_that_reserve_and_settle_use_the_balance_up(balances: Balances, keys: WatchedKeys) -> None:
    key, _ = keys.add("Anna", balance=300)

    def spend(_: int) -> int:
        for spent in range(1_000):
            try:
                balances.settle(balances.reserve(key.id, 3), Usage(text_tokens=3))
            except InsufficientBalance:
                return spent
        raise AssertionError("the balance has no end")

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(8))) == 100
    assert keys.get(key.id).balance == 0


def test_a_charge_being_written_costs_nobody_a_refusal(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 6)
    keys.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        settled = pool.submit(balances.settle, reservation, SIX)
        assert keys.written.wait(10)  # 4 are left on the disk, and 6 are still held
        other = pool.submit(balances.reserve, anna, 4)
        balances.release(reservation)  # too late: it is being charged
        time.sleep(0.02)
        keys.go_on.set()
        other.result(10)
        settled.result(10)
    with pytest.raises(InsufficientBalance, match="0 left"):
        balances.reserve(anna, 1)


def test_tokens_are_held_until_the_charge_is_written(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 6)
    keys.may_write.clear()
    with ThreadPoolExecutor(2) as pool:
        settled = pool.submit(balances.settle, reservation, SIX)
        assert keys.begun.wait(10)
        balances.reserve(anna, 3)  # of the four that are free, without waiting
        other = pool.submit(balances.reserve, anna, 2)
        time.sleep(0.02)
        keys.may_write.set()
        settled.result(10)
        with pytest.raises(InsufficientBalance, match="1 left"):
            other.result(10)


def test_a_balance_is_not_read_before_a_charge_and_used_after_it(
    balances: Balances, keys: WatchedKeys, anna: str
) -> None:
    reservation = balances.reserve(anna, 6)
    with ThreadPoolExecutor(1) as pool:

        def charge_meanwhile() -> None:
            keys.after_get = int
            pool.submit(balances.settle, reservation, SIX)
            keys.written.wait(0.05)
            time.sleep(0.01)

        keys.after_get = charge_meanwhile
        with pytest.raises(InsufficientBalance):
            balances.reserve(anna, 5)


def test_charges_that_wait_go_to_the_disk_together(balances: Balances, keys: WatchedKeys) -> None:
    key, _ = keys.add("Anna")
    reservations = [balances.reserve(key.id, 6) for _ in range(8)]
    keys.go_on.clear()
    with ThreadPoolExecutor(8) as pool:
        pool.submit(balances.settle, reservations[0], SIX)
        assert keys.written.wait(10)
        for each in reservations[1:]:
            pool.submit(balances.settle, each, SIX)
        until(lambda: all(each.state == "settling" for each in reservations))
        keys.go_on.set()
    assert keys.together == [1, 7]
    assert keys.get(key.id).requests == 8


def test_a_charge_that_failed_can_be_tried_again(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 6)
    keys.failures = [KeyFileError("the disk is full")]
    with pytest.raises(KeyFileError, match="the disk is full"):
        balances.settle(reservation, SIX)
    assert keys.get(anna).balance == 10
    with pytest.raises(InsufficientBalance):
        balances.reserve(anna, 5)  # still set aside
    balances.settle(reservation, SIX)
    assert keys.get(anna).balance == 4


def test_a_charge_that_was_interrupted_is_not_tried_again(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 6)
    keys.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        balances.settle(reservation, SIX)
    with pytest.raises(KeyFileError, match="interrupted"):
        balances.settle(reservation, SIX)
    balances.reserve(anna, 10)


def test_top_up_and_revocation_in_between(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    reservation = balances.reserve(anna, 10)
    with KeyFile(keys.path) as other:
        other.top_up(anna, 5)
        late = balances.reserve(anna, 5)  # seen at once
        other.revoke(anna)
        with pytest.raises(InvalidKey):
            balances.reserve(anna, 0)
    balances.settle(reservation, Usage(text_tokens=10))  # admitted while the key was in force
    balances.release(late)
    assert keys.get(anna).balance == 5


def test_two_servers_never_go_below_zero(balances: Balances, keys: WatchedKeys, anna: str) -> None:
    with KeyFile(keys.path) as file:
        other = Balances(file)
        here, there = balances.reserve(anna, 6), other.reserve(anna, 6)
        other.settle(there, SIX)
        with pytest.raises(InsufficientBalance, match="spent meanwhile"):
            balances.settle(here, SIX)
        balances.release(here)
    assert (keys.get(anna).balance, keys.get(anna).requests) == (4, 1)
    balances.reserve(anna, 4)


CHARGE_FOR_EVER = """
import sys, threading
from babelclip.serve.access.balances import Balances
from babelclip.serve.pricing import Usage
from babelclip.serve.access.keys import KeyFile
balances = Balances(KeyFile(sys.argv[1]))
def work():
    while True:
        balances.settle(balances.reserve(sys.argv[2], 9), Usage(text_tokens=3, image_tokens=4))
        sys.stdout.write("charged\\n")
        sys.stdout.flush()
for _ in range(int(sys.argv[3])):
    threading.Thread(target=work).start()
"""


@pytest.mark.parametrize("threads", [1, 4])
def test_what_was_charged_outlives_sigkill(keys: WatchedKeys, threads: int) -> None:
    key, _ = keys.add("Anna", balance=10**9)
    acknowledged = 0
    for killed in range(1, 3):
        command = [sys.executable, "-c", CHARGE_FOR_EVER, str(keys.path), key.id, str(threads)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "charged\n"
            time.sleep(random.uniform(0, 0.15))
            process.kill()
            acknowledged += 1 + process.stdout.read().count("charged\n")
        after = keys.get(key.id)
        # What each thread had under way may have been charged and not acknowledged; nothing else may differ.
        assert acknowledged <= after.requests <= acknowledged + threads * killed
        assert after.usage == Usage(text_tokens=3 * after.requests, image_tokens=4 * after.requests)
        assert after.balance == 10**9 - 7 * after.requests
    keys.close()
    connection = sqlite3.connect(keys.path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
