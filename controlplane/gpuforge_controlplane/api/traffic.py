"""Requests in flight, so that a stop can wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Traffic:
    """Counts the requests in flight.

    aiohttp's own graceful stop waits for handlers but throws away what still arrives: a request whose body
    is on its way would never end.
    """

    def __init__(self) -> None:
        self.stopping = False  # connections are closed after their answer
        self._in_flight = 0
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

    async def ends(self, within_s: float) -> None:
        """Return when no request is in flight, after `within_s` seconds at the latest."""
        self.stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nobody.wait()
