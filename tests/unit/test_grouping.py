"""Group commit: each caller gets its own result, whatever becomes of the others."""

import asyncio
from collections.abc import Sequence

import pytest

from gpuforge_controlplane.storage.grouping import Grouped


class Runs:
    """Doubles numbers, when it is let; keeps which came together."""

    def __init__(self, most: int = 100) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.fails: set[int] = set()
        self.grouped: Grouped[int, int] = Grouped(self, weight=lambda item: item, most=most)

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        await self.gate.wait()
        if self.fails & set(items):
            raise RuntimeError("no")
        return [2 * item for item in items]

    async def submit(self, *items: int) -> list[asyncio.Task[int]]:
        tasks = [asyncio.create_task(self.grouped.submit(item)) for item in items]
        for _ in range(3):  # until they are in the queue and the first group has begun
            await asyncio.sleep(0)
        return tasks


async def test_a_lone_item_goes_at_once() -> None:
    runs = Runs()
    runs.gate.set()
    assert await runs.grouped.submit(21) == 42
    assert await runs.grouped.submit(4) == 8
    assert runs.groups == [[21], [4]]


async def test_what_waits_goes_together_and_each_gets_its_own() -> None:
    runs = Runs()
    first = await runs.submit(1)
    rest = await runs.submit(2, 3, 4)
    assert runs.grouped.queued == 9
    runs.gate.set()
    assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8]
    assert runs.groups == [[1], [2, 3, 4]]
    assert runs.grouped.queued == 0


async def test_a_group_ends_before_it_weighs_too_much() -> None:
    runs = Runs(most=5)
    tasks = await runs.submit(1) + await runs.submit(3, 2, 4, 9, 1)
    runs.gate.set()
    assert await asyncio.gather(*tasks) == [2, 6, 4, 8, 18, 2]
    assert runs.groups == [[1], [3, 2], [4], [9], [1]]


async def test_a_failure_is_for_its_group_alone() -> None:
    runs = Runs(most=5)
    runs.fails = {3}
    tasks = await runs.submit(1) + await runs.submit(3, 2, 4)
    runs.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [int, RuntimeError, RuntimeError, int]
    assert await runs.grouped.submit(5) == 10


async def test_a_caller_that_gives_up_holds_nobody_up() -> None:
    runs = Runs()
    (first,) = await runs.submit(1)
    second, third = await runs.submit(2, 3)
    second.cancel()
    first.cancel()
    runs.gate.set()
    assert await third == 6
    with pytest.raises(asyncio.CancelledError):
        await second
    assert runs.grouped.queued == 0
