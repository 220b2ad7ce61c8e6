"""Runs a piece of work again and again, whatever becomes of one round."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_log = logging.getLogger(__name__)
_JITTER = 0.1  # of the period, so that replicas do not act in step


@asynccontextmanager
async def running(name: str, every_s: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """`work` runs now and then every `every_s` seconds, while the block lasts. A failure is logged."""
    task = asyncio.create_task(_repeat(name, every_s, work), name=f"loop {name}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _repeat(name: str, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  # one failed round must not end the loop
            _log.exception("loop failed; it runs again", extra={"loop": name})
        await asyncio.sleep(every_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311  # no secret
