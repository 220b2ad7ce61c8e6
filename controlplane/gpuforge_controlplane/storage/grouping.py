"""Group commit: one round trip to the database for whatever queued up while the last one ran."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Grouped(Generic[In, Out]):
    """Calls `run` with all items waiting, one call at a time, and hands each caller its own result.

    No timer: a lone item goes at once, and under load groups grow by themselves. `run` answers one result
    an item, in order; if it raises, every caller of that group gets the exception.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Awaitable[Sequence[Out]]],
        *,
        weight: Callable[[In], int],
        most: int,
    ) -> None:
        """`weight` of an item counts towards `most`, what one call of `run` takes at a time."""
        self._run = run
        self._weight = weight
        self._most = most
        self._waiting: list[tuple[In, asyncio.Future[Out]]] = []
        self._worker: asyncio.Task[None] | None = None
        self.queued = 0  # total weight of what waits

    async def submit(self, item: In) -> Out:
        """The result of `run` for this item."""
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self.queued += self._weight(item)
        if self._worker is None:
            self._worker = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                group = self._take()
                await self._serve(group)
        finally:
            self._worker = None

    def _take(self) -> list[tuple[In, asyncio.Future[Out]]]:
        taken, weight = 0, 0
        for item, _ in self._waiting:
            weight += self._weight(item)
            if taken and weight > self._most:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self.queued -= sum(self._weight(item) for item, _ in group)
        return group

    async def _serve(self, group: list[tuple[In, asyncio.Future[Out]]]) -> None:
        try:
            results = await self._run([item for item, _ in group])
        except Exception as error:  # noqa: BLE001  # whatever it was belongs to the callers
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():  # a caller may have given up
                future.set_result(result)
