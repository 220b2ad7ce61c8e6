"""The queue against a list that does the same: order, bound, numbers, and a count that adds up."""

import asyncio
import errno
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_agent.sample import Batch, Losses, Sample
from gpuforge_agent.spool import Spool
from gpuforge_agent.spool_files import SpoolFiles

START = datetime(2026, 5, 9, tzinfo=UTC)


def sample(number: int) -> Sample:
    return Sample(uuid="GPU-1", recorded_at=START + timedelta(seconds=number))


def peek(spool: Spool, limit: int) -> Batch:
    return asyncio.run(spool.peek(limit))


APPEND = st.just(("append", 0))
ACK = st.tuples(st.just("ack"), st.integers(-2, 60))


@given(capacity=st.integers(1, 8), steps=st.lists(APPEND | ACK, max_size=60), limit=st.integers(1, 10))
def test_it_keeps_the_newest_in_order_and_its_counts_add_up(
    capacity: int, steps: list[tuple[str, int]], limit: int
) -> None:
    spool = Spool(capacity)
    held: list[int] = []  # numbers
    appended = acknowledged = dropped = 0
    for step, through in steps:
        if step == "append":
            spool.append(sample(appended))
            held.append(appended)
            appended += 1
            dropped += max(0, len(held) - capacity)
            del held[:-capacity]
        else:
            spool.ack(through)  # of what was peeked last
            acknowledged += len([number for number in held[:limit] if number <= through])
            held = [number for place, number in enumerate(held) if place >= limit or number > through]
        batch = peek(spool, limit)
        assert list(batch.samples) == [sample(number) for number in held[:limit]]
        assert list(batch.numbers) == held[:limit]
        assert len(spool) == len(held) <= capacity
        assert spool.losses.dropped == dropped
        assert appended == acknowledged + dropped + len(spool)


def test_peeking_takes_nothing_away() -> None:
    spool = Spool(3)
    spool.append(sample(0))
    assert peek(spool, 5) == peek(spool, 5)
    assert len(spool) == 1


def test_acknowledging_what_was_dropped_meanwhile_keeps_what_came_after() -> None:
    spool = Spool(2)
    spool.append(sample(0))
    spool.append(sample(1))
    in_flight = peek(spool, 1)
    spool.append(sample(2))  # 0 makes room while it is under way
    spool.ack(in_flight.numbers[-1])
    assert peek(spool, 5).samples == (sample(1), sample(2))


def test_a_gap_is_told_with_the_times_that_it_spans() -> None:
    spool = Spool(2)
    for number in range(5):
        spool.append(sample(number))
    assert spool.losses == Losses(dropped=3, since=START, until=START + timedelta(seconds=3))


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_batch_is_no_longer_than_asked(limit: int) -> None:
    spool = Spool(10)
    for number in range(3):
        spool.append(sample(number))
    assert len(peek(spool, limit).samples) == min(limit, 3)


class Disk:
    """The write(2) of a disk that hangs while it is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self._write = os.write
        self._free = threading.Event()
        self._free.set()
        self.writes = threading.Semaphore(0)
        self.folder = folder
        self.fault: OSError | None = None
        monkeypatch.setattr("gpuforge_agent.segments.os.write", self._held)

    def hold(self) -> None:
        """Whoever writes from now on hangs, and is soon known to: only then, however busy this machine is."""
        self._monkeypatch.setattr("gpuforge_agent.spool.HANG_S", 0.01)
        self._free.clear()

    def let_go(self) -> None:
        """It answers again."""
        self._monkeypatch.setattr("gpuforge_agent.spool.HANG_S", 60.0)
        self._free.set()

    def opened(self) -> SpoolFiles:
        """What a Spool is given."""
        if self.fault is not None:
            raise self.fault
        return SpoolFiles(self.folder, limit_bytes=1 << 20)

    def _held(self, file: int, content: bytes) -> int:
        self._free.wait()
        written = self._write(file, content)
        self.writes.release()
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Disk]:
    held = Disk(monkeypatch, tmp_path / "queue")
    yield held
    held.let_go()  # a thread that hangs would outlive the test


def numbers(batch: Batch) -> list[int]:
    """Which samples, by `sample(number)`."""
    return [round((each.recorded_at - START).total_seconds()) for each in batch.samples]


class Told(logging.Handler):
    """What is logged, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put_nowait(record.getMessage())

    async def next(self) -> str:
        """The oldest that was not yet asked for; 20 s at most."""
        async with asyncio.timeout(20):
            return await self.messages.get()


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    told, logger = Told(), logging.getLogger("gpuforge_agent.spool")
    logger.setLevel(logging.INFO)
    logger.addHandler(told)
    yield told
    logger.removeHandler(told)
    logger.setLevel(logging.NOTSET)


HANGS = "the disk of the queue fails at writing, samples wait in memory: it does not answer"


@pytest.fixture
async def spool(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Spool]:
    """On that disk, with room for 20 in memory, of which 5 stay at hand."""
    monkeypatch.setattr("gpuforge_agent.spool.AT_HAND", 5)
    spool = Spool(20, disk.opened)
    yield spool
    disk.let_go()
    await spool.close()


async def hanging(disk: Disk, spool: Spool, count: int, told: Told) -> asyncio.Task[None]:
    """So many more samples, the first of which the disk hangs at; what waits for it."""
    disk.hold()
    first = spool.losses.dropped + len(spool)
    spool.append(sample(first))
    writing = asyncio.create_task(spool._catch_up())
    assert await told.next() == HANGS
    for number in range(first + 1, first + count):
        spool.append(sample(number))
    return writing


async def reopened(disk: Disk) -> Spool:
    """As by the next agent, after kill -9 of this one."""
    spool = Spool(20, disk.opened)
    await spool._catch_up()
    return spool


async def test_a_disk_that_hangs_holds_nobody_up_and_loses_nothing(
    disk: Disk, spool: Spool, told: Told
) -> None:
    writing = await hanging(disk, spool, 8, told)
    assert (spool.is_on_disk, spool.disk_hangs) == (False, True)
    batch = await spool.peek(3)
    assert numbers(batch) == [0, 1, 2]
    spool.ack(batch.numbers[-1])  # in order, though the disk knows nothing of it
    assert numbers(await spool.peek(10)) == [3, 4, 5, 6, 7]
    disk.let_go()
    await writing
    await spool._catch_up()
    assert await told.next() == "the queue is on disk again"
    assert (spool.is_on_disk, spool.disk_hangs) == (True, False)
    after = await reopened(disk)
    assert numbers(await after.peek(10)) == [3, 4, 5, 6, 7]
    assert after.losses == spool.losses == Losses()


async def test_who_runs_it_takes_the_disk_along(disk: Disk, spool: Spool, told: Told) -> None:
    disk.hold()
    running = asyncio.create_task(spool.run())
    spool.append(sample(0))
    assert await told.next() == HANGS
    spool.append(sample(1))
    disk.let_go()
    assert await told.next() == "the queue is on disk again"
    for _ in range(2):
        assert await asyncio.to_thread(disk.writes.acquire, timeout=20)
    running.cancel()
    await spool.close()
    assert numbers(await (await reopened(disk)).peek(10)) == [0, 1]


@pytest.mark.parametrize("comes_late", [False, True], ids=["at once", "with the folder"])
async def test_what_an_earlier_life_left_waits_though_nothing_is_read_in_this_one(
    disk: Disk, spool: Spool, told: Told, comes_late: bool
) -> None:
    earlier = await reopened(disk)
    earlier.append(sample(0))
    await earlier.close()
    if comes_late:
        disk.fault = OSError(errno.EROFS, os.strerror(errno.EROFS))
    opened = asyncio.Event()
    loop, adopted = asyncio.get_running_loop(), disk.opened

    def seen() -> SpoolFiles:
        files = adopted()
        loop.call_soon_threadsafe(opened.set)
        return files

    spool._open = seen
    running = asyncio.create_task(spool.run())
    if comes_late:
        assert "Read-only" in await told.next()
        disk.fault = None
        await spool.sync()
    async with asyncio.timeout(20):
        await opened.wait()
    running.cancel()
    await spool._catch_up()
    assert numbers(await spool.peek(10)) == [0]


async def test_killed_while_its_disk_hangs_it_goes_on_from_what_the_disk_knew(
    disk: Disk, spool: Spool, told: Told
) -> None:
    for number in range(3):
        spool.append(sample(number))
    await spool._catch_up()
    spool.ack((await spool.peek(2)).numbers[-1])
    await spool._catch_up()
    await hanging(disk, spool, 4, told)
    spool.ack((await spool.peek(2)).numbers[-1])
    after = await reopened(disk)
    assert numbers(await after.peek(10)) == [2]  # once more: the control plane has it
    assert after.losses == Losses()


async def test_memory_is_bounded_while_a_disk_hangs_and_what_that_costs_is_counted(
    disk: Disk, spool: Spool, told: Told
) -> None:
    writing = await hanging(disk, spool, 30, told)
    assert numbers(await spool.peek(100)) == list(range(10, 30))
    assert spool.losses == Losses(dropped=10, since=START, until=START + timedelta(seconds=10))
    assert spool.dropped == 10
    disk.let_go()
    await writing
    await spool._catch_up()
    after = await reopened(disk)
    assert numbers(await after.peek(100)) == list(range(10, 30))
    assert after.losses == spool.losses
    assert after.dropped == 0


async def test_what_memory_could_not_hold_behind_what_is_on_disk_is_counted_when_delivery_comes_to_it(
    disk: Disk, spool: Spool, told: Told
) -> None:
    for number in range(3):
        spool.append(sample(number))
    await spool._catch_up()
    writing = await hanging(disk, spool, 30, told)
    disk.let_go()
    await writing
    await spool._catch_up()
    batch = await spool.peek(100)
    assert numbers(batch) == [0, 1, 2, 3, *range(13, 33)]  # 3 was being written
    spool.ack(batch.numbers[-1])
    assert (len(spool), spool.losses) == (0, Losses(damaged=9))


async def test_what_is_on_a_disk_that_hangs_is_waited_for_so_that_the_order_holds(
    disk: Disk, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(15):
        spool.append(sample(number))
    await spool._catch_up()
    spool.append(sample(15))
    read, reading, released = SpoolFiles.read, threading.Event(), threading.Event()

    def hang(files: SpoolFiles, limit: int, first: int) -> list[tuple[int, Sample]]:
        reading.set()
        released.wait()
        return read(files, limit, first)

    monkeypatch.setattr(SpoolFiles, "read", hang)
    peeking = asyncio.create_task(spool.peek(100))
    await asyncio.to_thread(reading.wait)
    spool.append(sample(16))  # nobody waits but who asks for what is nowhere else
    assert not peeking.done()
    released.set()
    batch = await peeking
    assert numbers(batch) == list(range(15))
    spool.ack(batch.numbers[-1])
    assert numbers(await spool.peek(100)) == [15, 16]


async def test_a_folder_that_can_be_had_later_takes_what_waits_behind_what_it_held(
    disk: Disk, spool: Spool, told: Told
) -> None:
    earlier = Spool(20, disk.opened)
    for number in range(3):
        earlier.append(sample(number))
    await earlier.close()
    disk.fault = OSError(errno.EROFS, os.strerror(errno.EROFS))
    for number in range(3, 9):
        spool.append(sample(number))
        await spool._catch_up()
    assert await told.next() == f"{HANGS.partition(': ')[0]}: {disk.fault}"
    in_flight = await spool.peek(2)
    assert numbers(in_flight) == [3, 4]
    disk.fault = None
    await spool._catch_up()
    assert await told.next() == "the queue is on disk again"
    spool.ack(in_flight.numbers[-1])  # speaks of the queue as it was then: they are sent once more
    assert numbers(await spool.peek(100)) == list(range(9))
    after = await reopened(disk)
    assert numbers(await after.peek(100)) == list(range(9))
    assert after.losses == Losses()


async def test_losses_of_before_and_after_the_folder_came_are_added(disk: Disk, spool: Spool) -> None:
    earlier = await reopened(disk)
    earlier._losses = Losses(dropped=5, damaged=1, since=START - timedelta(days=1), until=START)
    await earlier.close()
    disk.fault = OSError(errno.EROFS, os.strerror(errno.EROFS))
    for number in range(24):
        spool.append(sample(number))
    await spool._catch_up()
    disk.fault = None
    await spool._catch_up()
    until = START + timedelta(seconds=4)
    assert spool.losses == Losses(dropped=9, damaged=1, since=START, until=until)
    assert spool.dropped == 4


async def test_a_disk_that_never_syncs_is_said_and_holds_up_no_writing(
    disk: Disk, spool: Spool, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    released = threading.Event()
    monkeypatch.setattr("gpuforge_agent.spool.SYNC_HANG_S", 0.01)
    monkeypatch.setattr("gpuforge_agent.spool.put_on_disk", lambda _: released.wait())
    spool.append(sample(0))
    await spool._catch_up()
    syncing = asyncio.create_task(spool.sync())
    assert await told.next() == HANGS.replace("writing", "syncing")
    spool.append(sample(1))
    await spool._catch_up()
    assert numbers(await (await reopened(disk)).peek(10)) == [0, 1]
    assert spool.disk_hangs
    released.set()
    await syncing
    assert await told.next() == "the queue is on disk again"
