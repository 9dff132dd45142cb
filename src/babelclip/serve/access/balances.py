"""Prepaid balances under load: set the price of a request aside, do the work, charge what it used, answer.

    reservation = balances.reserve(key.id, usage.total)   # refused here when the balance does not cover it
    try:
        ...                                               # the work
        balances.settle(reservation, usage)               # on the disk when it returns; only then the answer is sent
    finally:
        balances.release(reservation)                     # nothing once it is settled

What is promised:

- A charge is one transaction in the key file, made before the answer is sent. No answer goes out unpaid.
- A reservation is in the memory of this process alone. When the process dies, by kill -9 too, reservations die with it
  and the balance is what it was: work that was not charged costs nothing.
- When it dies between the charge and the answer, the client has paid for an answer that it did not get. At most the
  requests under way at that moment are affected; sent again, they are new requests and are charged again.
- A reservation is charged once, however often and from however many threads it is settled.
- Balances never go below zero, and the reservations of one process never promise the same token twice. Another process
  that charges the same key may spend what was set aside here: then ``settle`` raises ``InsufficientBalance``, charges
  nothing, and no answer must be sent.
- A top-up counts from the next reservation on. A key that is revoked gets no new reservation; one that it has is
  settled as usual, because the work was admitted while the key was in force.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from babelclip.serve.access.key_schema import KeyFileError
from babelclip.serve.access.keys import KeyFile, in_force
from babelclip.serve.errors import InsufficientBalance
from babelclip.serve.pricing import Usage


@dataclass(eq=False, slots=True)
class Reservation:
    """Tokens set aside for one request. ``Balances`` alone changes it."""

    key_id: str
    tokens: int
    state: Literal["open", "settling", "settled", "released"] = "open"
    usage: Usage | None = None  # what it is to be charged
    failure: Exception | None = None  # why the last attempt to charge it failed


class Balances:
    """Reservations and charges of one server process. Safe to use from several threads.

    ``reserve`` and ``release`` take microseconds, a refusal waits for the charge being written. ``settle`` waits for
    the disk, so an event loop calls it in a thread, which it must let finish: a request that is cancelled meanwhile has
    been charged. Charges that wait at the same time go to the disk together.
    """

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys
        self._lock = threading.Lock()  # guards all below and the states of reservations; never held during a charge
        self._held: Counter[str] = Counter()  # key id -> tokens of its reservations that are open or being settled
        self._queue: list[Reservation] = []
        self._disk = threading.Lock()  # whoever has it writes the queue

    def reserve(self, key_id: str, tokens: int) -> Reservation:
        """Set tokens aside.

        Raises:
            InsufficientBalance: the balance, less what is set aside already, does not cover them.
            InvalidKey: the key was revoked.
        """
        if tokens < 0:
            raise ValueError(f"tokens are counted from 0, found {tokens}")
        if self._hold(key_id, tokens) is not None:
            # While a charge is being written its tokens may be off the balance and still held: look again at rest.
            with self._disk:
                left = self._hold(key_id, tokens)
            if left is not None:
                raise _too_little(tokens, left)
        return Reservation(key_id, tokens)

    def settle(self, reservation: Reservation, usage: Usage) -> None:
        """Charge what was used, once; return when it is on the disk.

        Raises:
            InsufficientBalance: nothing was charged, and the reservation is still open.
            KeyFileError: the same; but after Ctrl-C in the middle of a charge nobody knows whether it was made, so the
                reservation is closed.
            ValueError: more was used than reserved, or the reservation was released.
        """
        if usage.total > reservation.tokens:
            raise ValueError(f"{usage.total:,} tokens were used, and only {reservation.tokens:,} reserved")
        with self._lock:
            if reservation.state == "released":
                raise ValueError("the reservation was released")
            if reservation.state == "open":
                reservation.state, reservation.usage, reservation.failure = "settling", usage, None
                self._queue.append(reservation)
        while (outcome := self._outcome(reservation)) == "settling":
            self._write_queue()
        if outcome is not None:
            raise outcome

    def release(self, reservation: Reservation) -> None:
        """Give up a reservation and charge nothing. Does nothing when it is settled, being settled or released."""
        with self._lock:
            if reservation.state == "open":
                reservation.state = "released"
                self._let_go(reservation)

    def _hold(self, key_id: str, tokens: int) -> int | None:
        """Hold the tokens and return ``None``, or return how many there are when they are too few."""
        with self._lock:
            # The balance is read under the lock: a charge lets go of its tokens under it too, and only after it has
            # been written, so they are never missing from both.
            balance = in_force(self._keys.get(key_id)).balance
            if balance is not None and balance - self._held[key_id] < tokens:
                return max(balance - self._held[key_id], 0)
            self._held[key_id] += tokens
        return None

    def _let_go(self, reservation: Reservation) -> None:
        self._held[reservation.key_id] -= reservation.tokens
        if not self._held[reservation.key_id]:
            del self._held[reservation.key_id]

    def _outcome(self, reservation: Reservation) -> Literal["settling"] | Exception | None:
        """How settling it went: not yet known, why it failed, or ``None`` when it is charged."""
        with self._lock:
            return "settling" if reservation.state == "settling" else reservation.failure

    def _write_queue(self) -> None:
        """Charge everything that waits, or wait for the thread that is doing so."""
        with self._disk:
            with self._lock:
                batch, self._queue = self._queue, []
            if batch:
                self._charge(batch)

    def _charge(self, batch: list[Reservation]) -> None:
        """Write a batch and tell each reservation how it went."""
        charges = [(reservation.key_id, reservation.usage or Usage()) for reservation in batch]
        try:
            covered = self._keys.charge(charges)
        except KeyFileError as error:
            self._reopen([(reservation, KeyFileError(str(error))) for reservation in batch])
            return
        except BaseException:
            # Ctrl-C, say, in the middle: whether it was written is not known, so none of these is tried again.
            self._finish(batch, KeyFileError("the charge was interrupted, so whether it was made is not known"))
            raise
        self._finish([each for each, paid in zip(batch, covered, strict=True) if paid], None)
        unpaid = (index for index, paid in enumerate(covered) if not paid)
        self._reopen([(batch[index], _too_little(charges[index][1].total, None)) for index in unpaid])

    def _finish(self, batch: list[Reservation], failure: KeyFileError | None) -> None:
        with self._lock:
            for reservation in batch:
                reservation.state, reservation.failure = "settled", failure
                self._let_go(reservation)

    def _reopen(self, failed: list[tuple[Reservation, Exception]]) -> None:
        with self._lock:
            for reservation, failure in failed:
                reservation.state, reservation.failure = "open", failure


def _too_little(tokens: int, left: int | None) -> InsufficientBalance:
    has = "its balance has been spent meanwhile" if left is None else f"it has {left:,} left"
    return InsufficientBalance(f"This request costs {tokens:,} tokens of this API key's balance, and {has}")
