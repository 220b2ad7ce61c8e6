"""One reader of the live stream: what it may see, what waits for it, what it has been sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gpuforge_controlplane.services.views import View, message
from gpuforge_controlplane.storage.feed import FIRST_SOURCES, SOURCES, Happened

_NUMBER = re.compile(r"[0-9]{1,18}")
MOST_PENDING = 1024 * 1024  # bytes of events that a reader may leave lying; then it must resume

Mark = tuple[int, ...]  # an id in each of SOURCES: everything up to there has been told


def marked(marks: Sequence[int]) -> str:
    """A mark as the id of a message."""
    return ".".join(map(str, marks))


def parse_mark(last_id: str | None) -> Mark | None:
    """The mark that a reader hands back; None where it has none, or one that was not made here.

    One that was made before a source was added is that much shorter.
    """
    words = (last_id or "").split(".")
    if not FIRST_SOURCES <= len(words) <= len(SOURCES) or not all(map(_NUMBER.fullmatch, words)):
        return None
    return tuple(map(int, words))


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it is sent. `place` is its source's, None for what is in no table."""

    happened: Happened
    place: int | None
    encoded: bytes

    @classmethod
    def of(cls, happened: Happened, place: int | None, marks: Sequence[int]) -> Message:
        """Encode it once, for all readers; empty where it tells nobody anything."""
        if happened.event is None:
            return cls(happened, place, b"")
        mark = marked(marks) if marks else None
        return cls(happened, place, message(happened.event, happened.payload, mark))


class StreamEnded(Exception):
    """The server stops, or this reader left too much lying: it is to come back and resume."""


class Reader:
    """A queue with an end: events in order, and of the fleet whatever is newest."""

    def __init__(self, tenant_id: int | None, *, frames: bool, abort: Callable[[], None]) -> None:
        self.tenant_id = tenant_id  # None: an operator, who sees everything
        self.frames = frames
        self.abort = abort  # cuts the connection
        self._skip: Mark = ()
        self._events: list[bytes] = []
        self._pending = 0
        self._view: View | None = None
        self._version = self._allocations = 0  # of the view, as sent
        self._wake = asyncio.Event()
        self._ended = False

    def greet(self, messages: Sequence[bytes], skip: Mark = ()) -> None:
        """Put these before whatever waits. Events up to `skip` it has had, from another replica perhaps."""
        self._events[:0] = messages
        self._skip = skip
        self._wake.set()

    def sees(self, message: Message) -> bool:
        """Whether an event is this reader's affair, and new to it."""
        if self._skip and message.place is not None and message.happened.id <= self._skip[message.place]:
            return False
        return self.tenant_id is None or message.happened.tenant_id == self.tenant_id

    def is_ahead_of(self, mark: Mark) -> bool:
        """Whether it has had events that may be new here."""
        if all(theirs <= here for theirs, here in zip(self._skip, mark, strict=False)):
            self._skip = ()
        return bool(self._skip)

    def push(self, events: bytes) -> None:
        """Events for it; too much in waiting ends the stream."""
        if not events:
            return
        self._pending += len(events)
        if self._pending > MOST_PENDING:
            self.end()
            return
        self._events.append(events)
        self._wake.set()

    def refresh(self, view: View) -> None:
        """The fleet has moved on; what was not fetched of it is skipped."""
        self._view = view
        self._wake.set()

    def end(self) -> None:
        """No more after this."""
        self._ended = True
        self._wake.set()

    async def next(self, within_s: float) -> bytes:
        """What to send now, b"" where nothing came in time. Raises StreamEnded."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        if self._ended:
            raise StreamEnded
        self._wake.clear()
        parts = [*self._events, *self._shown()]
        self._events.clear()
        self._pending = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _shown(self) -> list[bytes]:
        view, self._view = self._view, None
        if view is None:
            return []
        parts = []
        if view.version != self._version:
            parts.append(view.snapshot)
        if (view.version, view.allocations) != (self._version, self._allocations):
            parts.append(view.allocation)
        self._version, self._allocations = view.version, view.allocations
        return [*parts, view.frame]
