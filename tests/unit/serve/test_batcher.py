"""The queue of a tower: no waiting for company, budgets, turns, failures, bounds, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from babelclip.errors import ConfigError
from babelclip.serve.inference.batcher import BackendLost, Batcher, BatchLimits, Overloaded, ShuttingDown

LIMITS = BatchLimits(batch_cost=10, batch_items=8, waiting_cost=100)


class Tower:
    """Doubles numbers; remembers its batches; works only while the gate is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.lost = False

    async def run(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.lost:
            raise BackendLost("gone")
        if 13 in items:
            raise RuntimeError("unlucky")
        return [ValueError("seven") if item == 7 else 2 * item for item in items]


async def opened(limits: BatchLimits = LIMITS) -> tuple[Tower, Batcher[int, int]]:
    tower = Tower()
    batcher = Batcher[int, int](tower.run, limits)
    batcher.start()
    return tower, batcher


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_lone_item_starts_at_once_and_others_gather_while_the_tower_works() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        first = asyncio.create_task(batcher.submit([1], [1]))
        await settle()
        assert tower.batches == [[1]]
        rest = [asyncio.create_task(batcher.submit([n], [1])) for n in (2, 3, 4)]
        await settle()
        assert tower.batches == [[1]]
        tower.gate.set()
        assert await first == [2]
        assert [await each for each in rest] == [[4], [6], [8]]
        assert tower.batches == [[1], [2, 3, 4]]
        assert await batcher.close(1)

    asyncio.run(scene())


def test_a_batch_keeps_to_its_budget_and_an_item_beyond_it_goes_alone() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        assert await batcher.submit([1, 2, 3, 4], [6, 4, 5, 30]) == [2, 4, 6, 8]
        assert tower.batches == [[1, 2], [3], [4]]
        await batcher.submit(list(range(20, 40)), [1] * 20)
        assert [len(batch) for batch in tower.batches[3:]] == [8, 8, 4]
        await batcher.close(1)

    asyncio.run(scene())


def test_requests_take_turns() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        large = asyncio.create_task(batcher.submit(list(range(100, 130)), [3] * 30))
        await settle()
        small = asyncio.create_task(batcher.submit([1], [3]))
        await settle()
        tower.gate.set()
        assert await small == [2]
        assert tower.batches[1][:2] in ([103, 1], [1, 103])
        assert await large == [2 * n for n in range(100, 130)]
        await batcher.close(1)

    asyncio.run(scene())


def test_an_item_that_fails_costs_only_its_owner() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        blocker = asyncio.create_task(batcher.submit([0], [1]))
        await settle()
        good = asyncio.create_task(batcher.submit([1, 2], [1, 1]))
        bad = asyncio.create_task(batcher.submit([3, 13, 7], [1, 1, 1]))
        await settle()
        tower.gate.set()
        await blocker
        assert await good == [2, 4]
        first, second, third = await bad
        assert first == 6
        assert isinstance(second, RuntimeError)
        assert isinstance(third, ValueError)
        await batcher.close(1)

    asyncio.run(scene())


def test_a_lost_tower_is_told_to_everybody_and_tried_once() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.lost = True
        answers = await batcher.submit([1, 2, 3], [1, 1, 1])
        assert all(isinstance(answer, BackendLost) for answer in answers)
        assert tower.batches == [[1, 2, 3]]
        tower.lost = False
        assert await batcher.submit([4], [1]) == [8]
        await batcher.close(1)

    asyncio.run(scene())


def test_a_tower_that_answers_for_others_is_lost() -> None:
    async def scene() -> None:
        async def run(items: Sequence[int]) -> list[int | Exception]:
            return [1]

        batcher = Batcher[int, int](run, LIMITS)
        batcher.start()
        answers = await batcher.submit([1, 2], [1, 1])
        assert [type(answer) for answer in answers] == [BackendLost, BackendLost]
        await batcher.close(1)

    asyncio.run(scene())


def test_who_leaves_takes_the_items_along() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        blocker = asyncio.create_task(batcher.submit([0], [1]))
        await settle()
        gone = asyncio.create_task(batcher.submit([1, 2], [1, 1]))
        stays = asyncio.create_task(batcher.submit([3], [1]))
        await settle()
        gone.cancel()
        tower.gate.set()
        await blocker
        assert await stays == [6]
        assert tower.batches == [[0], [3]]
        assert batcher.waiting_cost == 0
        await batcher.close(1)

    asyncio.run(scene())


def test_what_is_over_the_bound_is_told_when_to_come_back_and_queues_nothing() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        blocker = asyncio.create_task(batcher.submit([0], [1]))
        await settle()
        waits = asyncio.create_task(batcher.submit([1], [90]))
        await settle()
        with pytest.raises(Overloaded) as refused:
            await batcher.submit([2], [20])
        assert refused.value.retry_after >= 1
        assert batcher.waiting_cost == 90
        tower.gate.set()
        assert [await blocker, await waits] == [[0], [2]]
        assert await batcher.submit([3], [500]) == [6]  # nothing waits: a large request is not refused for ever
        await batcher.close(1)

    asyncio.run(scene())


def test_closing_finishes_what_was_accepted_and_takes_nothing_new() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        accepted = asyncio.create_task(batcher.submit([1, 2], [1, 1]))
        await settle()
        closing = asyncio.create_task(batcher.close(5))
        await settle()
        with pytest.raises(ShuttingDown):
            await batcher.submit([3], [1])
        tower.gate.set()
        assert await accepted == [2, 4]
        assert await closing

    asyncio.run(scene())


def test_closing_that_takes_too_long_tells_those_who_wait() -> None:
    async def scene() -> None:
        tower, batcher = await opened()
        tower.gate.clear()
        running = asyncio.create_task(batcher.submit([1], [1]))
        await settle()
        waiting = asyncio.create_task(batcher.submit([2], [1]))
        await settle()
        assert not await batcher.close(0.01)
        assert isinstance((await running)[0], ShuttingDown)
        assert isinstance((await waiting)[0], ShuttingDown)

    asyncio.run(scene())


def test_limits_below_one_are_an_error() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        BatchLimits(batch_cost=0, batch_items=1, waiting_cost=1)


def test_batches_overlap_only_where_that_was_asked_for() -> None:
    async def most_at_once(in_flight: int) -> int:
        running = most = 0

        async def run(batch: Sequence[str]) -> list[str | Exception]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return list(batch)

        limits = BatchLimits(batch_cost=1, batch_items=1, waiting_cost=100, in_flight=in_flight)
        batcher = Batcher[str, str](run, limits)
        batcher.start()
        words = list("abcdef")
        assert await batcher.submit(words, [1] * 6) == words
        assert await batcher.close(5)
        return most

    assert asyncio.run(most_at_once(1)) == 1
    assert asyncio.run(most_at_once(2)) == 2
