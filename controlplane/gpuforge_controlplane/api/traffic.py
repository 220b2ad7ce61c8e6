"""Requests in flight, so that a stop can wait for them, and none waits here until its caller gives up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gpuforge_shared.errors import Unavailable

# So many are answered within seconds. A request that waits for longer than its caller does is served in vain,
# and holds up others until they are, too: 12,500 agents that started at once were not in after eight minutes.
MOST = 2_000
ROOM = 1_000  # more, for people and their programs: agents fill no dashboard's place
BACK_WITHIN_S = (2.0, 12.0)  # those who are sent away come back spread over this


class Traffic:
    """Counts the requests in flight.

    aiohttp's own graceful stop waits for handlers but throws away what still arrives: a request whose body
    is on its way would never end.
    """

    def __init__(self) -> None:
        self.stopping = False  # connections are closed after their answer
        self._in_flight = 0
        self._served = 0
        self._nobody = asyncio.Event()
        self._nobody.set()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """One request is in flight."""
        self._in_flight += 1
        self._nobody.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._nobody.set()

    @contextmanager
    def served(self, *, agent: bool) -> Iterator[None]:
        """One request has arrived whole, from somebody who may ask, and is being answered. Raises Unavailable
        where more are than can be in time."""
        if self._served >= (MOST if agent else MOST + ROOM):
            again = random.uniform(*BACK_WITHIN_S)  # noqa: S311  # no secret
            raise Unavailable("more requests arrive than can be answered; send this again", retry_after=again)
        self._served += 1
        try:
            yield
        finally:
            self._served -= 1

    async def ends(self, within_s: float) -> None:
        """Return when no request is in flight, after `within_s` seconds at the latest."""
        self.stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nobody.wait()
