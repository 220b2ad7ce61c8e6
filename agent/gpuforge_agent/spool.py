"""The queue between reading and delivery: bounded, in order, and it counts what it had to drop."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from gpuforge_agent.sample import Batch, Losses, Sample
from gpuforge_agent.segments import put_on_disk
from gpuforge_agent.spool_files import Numbered, SpoolFiles
from gpuforge_shared.aside import aside

logger = logging.getLogger(__name__)

T = TypeVar("T")

HANG_S = 10.0  # a disk under load takes seconds to write …
SYNC_HANG_S = 60.0  # … and to sync, when others have it first
NO_ANSWER = "it does not answer"
AT_HAND = 1_000  # samples that stay in memory though they are on disk: delivery goes on when that hangs


class Spool:
    """A node's samples. The newest are in memory, and all on disk as far as that goes along.

    Nobody waits for the disk but who asks for samples that are nowhere else. `run` takes it to where memory
    is, a call at a time, however long one hangs. Numbers rise from sample to sample, whatever the clock does,
    and hold for the life of this object.
    """

    def __init__(self, capacity: int, open_files: Callable[[], SpoolFiles] | None = None) -> None:
        """`capacity` ≥ 1: samples in memory that are on no disk; when there are more, the oldest goes.

        `open_files` may block, and raise OSError: it is asked again until there is a folder that works.
        """
        self._capacity = capacity
        self._open = open_files
        self._files: SpoolFiles | None = None
        self._memory: deque[Numbered] = deque()
        self._first = 0  # not acknowledged
        self._next = 0
        self._written = 0  # what comes before is on disk
        self._shift = 0  # from a number here to that of the sample on disk
        self._peeked: list[int] = []
        self._losses = Losses()
        self._behind = asyncio.Event()  # the disk is
        self._asked: asyncio.Future[Any] | None = None  # of the disk, last
        self._troubles: dict[str, str] = {}  # what the disk fails at, and how
        self.dropped = 0
        """Samples that had to make room for newer ones since the agent started."""

    @property
    def losses(self) -> Losses:
        """What was never delivered."""
        return self._losses

    @property
    def is_on_disk(self) -> bool | None:
        """Whether the disk goes along; None where none is asked for."""
        return None if self._open is None else self._files is not None and not self._troubles

    @property
    def disk_hangs(self) -> bool:
        """Whether the disk takes longer than one under load does."""
        return NO_ANSWER in self._troubles.values()

    def __len__(self) -> int:
        """Samples not yet acknowledged; damaged ones count until they are found."""
        return self._next - self._first

    def append(self, sample: Sample) -> None:
        """Add the newest sample."""
        self._memory.append((self._next, sample))
        self._next += 1
        while len(self._memory) > self._capacity or (
            len(self._memory) > AT_HAND and self._memory[0][0] < self._written
        ):
            number, oldest = self._memory.popleft()
            # where older ones wait on disk it leaves a gap in the numbers, found when delivery comes to it
            if self._first >= self._written:
                self._drop(number + 1, Losses(since=oldest.recorded_at, until=self._memory[0][1].recorded_at))
        self._behind.set()

    async def peek(self, limit: int) -> Batch:
        """The oldest samples, `limit` at most; they stay until they are acknowledged.

        Waits for the disk, as long as that takes, where they are on it alone.
        """
        found: list[Numbered] = []
        if self._first < min(self._written, self._oldest_in_memory()):
            found = await self._read(limit)
        if not found:
            found = list(islice(self._memory, limit))
        self._peeked = [number for number, _ in found]
        return Batch(numbers=tuple(self._peeked), samples=tuple(sample for _, sample in found))

    def ack(self, through: int) -> None:
        """Forget what was peeked last, up to and including this number. What went before does no harm."""
        done = bisect_right(self._peeked, through)
        if done == 0 or (last := self._peeked[done - 1]) < self._first:
            return
        lost = last + 1 - self._first - (done - bisect_left(self._peeked, self._first))
        if lost:
            self._damage(lost)
        self._forget_before(last + 1)
        self._behind.set()

    async def run(self) -> None:
        """Take the disk along until cancelled."""
        while self._open is not None:
            await (
                self._catch_up()
            )  # at once: what an earlier life left waits even where no GPU is read in this one
            await self._behind.wait()
            self._behind.clear()

    async def sync(self) -> None:
        """Put on the disk itself what waits. Beside all else: a disk under load takes its time."""
        files = self._files
        if files is None:
            self._behind.set()  # to be tried again, whether there are samples or not
        if files is None or not len(self):
            return
        try:
            dirty = await self._ask(files.unsynced)
            if not dirty:
                return
            paths = [*(segment.path for segment, _ in dirty), files.folder]  # a file without a name is lost
            await self._patient("syncing", aside(partial(put_on_disk, paths)), SYNC_HANG_S)
        except OSError as error:
            self._tell("syncing", str(error))
            return
        self._tell("syncing", None)
        for segment, size in dirty:
            segment.synced = size

    async def close(self) -> None:
        """Leave all that waits on the disk, and let go of it; takes as long as the disk does."""
        if self._open is None:
            return
        await self._catch_up()
        await self.sync()
        if self._files is not None:
            await self._ask(self._files.close)

    async def _catch_up(self) -> None:
        """Take the disk to where memory is. Called by one at a time."""
        try:
            if self._files is None:
                assert self._open is not None
                self._files = self._adopted(await self._ask(self._open))
            await self._keep(self._files)
        except OSError as error:
            self._tell("writing", str(error))
        else:
            self._tell("writing", None)

    def _adopted(self, files: SpoolFiles) -> SpoolFiles:
        """What the disk held already comes before what is in memory, in numbers as well."""
        self._written = self._oldest_in_memory()
        self._shift = files.next - self._written
        self._first = files.first - self._shift
        self._peeked = []  # whoever is at it does not speak of what has come before: it is sent again
        self._losses = files.losses.and_then(self._losses)
        return files

    async def _keep(self, files: SpoolFiles) -> None:
        first = self._first + self._shift
        fresh = [(number + self._shift, each) for number, each in self._memory if number >= self._written]
        try:
            await self._ask(partial(files.keep, first, self._losses, fresh))
        finally:
            self._written = max(self._written, files.next - self._shift)
            if files.first > first:  # the oldest made room
                self._drop(files.first - self._shift, files.losses)

    async def _read(self, limit: int) -> list[Numbered]:
        """From the disk. Where it has nothing to give, nothing of it waits any more."""
        assert self._files is not None
        try:
            found = await self._ask(partial(self._files.read, limit, self._first + self._shift))
        except OSError as error:  # no thread left on this host: what is damaged is not told that way
            self._tell("reading", str(error))
            await asyncio.sleep(HANG_S)
            return await self._read(limit)
        self._tell("reading", None)
        waiting = [(number - self._shift, sample) for number, sample in found]
        waiting = [each for each in waiting if each[0] >= self._first]
        if found and not waiting:  # all of them made room meanwhile
            return await self._read(limit)
        if not found and (damaged := self._oldest_in_memory() - self._first) > 0:
            self._damage(damaged)
            self._forget_before(self._oldest_in_memory())
        return waiting

    async def _ask(self, call: Callable[[], T]) -> T:
        """One call of the disk at a time, even where whoever made it has given up."""
        while self._asked is not None and not self._asked.done():
            await asyncio.wait([self._asked])
        asked = aside(call)
        self._asked = asked
        return await self._patient("writing", asked, HANG_S)

    async def _patient(self, what: str, asked: asyncio.Future[T], hang_s: float) -> T:
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())  # if nobody waits any more
        if not (await asyncio.wait([asked], timeout=hang_s))[0]:
            self._tell(what, NO_ANSWER)
        return await asyncio.shield(asked)

    def _oldest_in_memory(self) -> int:
        return self._memory[0][0] if self._memory else self._next

    def _forget_before(self, first: int) -> None:
        self._first = first
        while self._memory and self._memory[0][0] < first:
            self._memory.popleft()

    def _drop(self, first: int, gap: Losses) -> None:
        """The oldest, up to that one, made room; `gap` says of when they were."""
        if (lost := first - self._first) > 0:
            self.dropped += lost
            self._losses = self._losses.gap(lost, gap.since, gap.until)
            self._forget_before(first)

    def _damage(self, samples: int) -> None:
        self._losses = self._losses.damage(samples)
        logger.warning("the disk did not keep some samples of the queue", extra={"lost": samples})

    def _tell(self, what: str, trouble: str | None) -> None:
        """Log what ails the disk, once, and its recovery."""
        if trouble == self._troubles.get(what):
            return
        if trouble is not None:
            self._troubles[what] = trouble
            logger.error("the disk of the queue fails at %s, samples wait in memory: %s", what, trouble)
            return
        del self._troubles[what]
        if not self._troubles:
            logger.info("the queue is on disk again")


def told_of(spool: Spool) -> dict[str, object]:
    """What a heartbeat tells of the queue: how many samples wait, how many are lost, and the last gap."""
    losses = spool.losses
    told = {
        "queued_samples": len(spool),
        "dropped_samples": losses.dropped + losses.damaged,
        "gap_since": losses.since,
        "gap_until": losses.until,
    }
    return {name: value for name, value in told.items() if value is not None}
