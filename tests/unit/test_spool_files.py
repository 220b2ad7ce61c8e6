"""The disk queue against everything that can happen to a file: cut at every byte, flipped, deleted, full."""

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuforge_agent.sample import Batch, Losses, Sample
from gpuforge_agent.segments import frame, put_on_disk, scan, unframe
from gpuforge_agent.spool import Spool
from gpuforge_agent.spool_files import SpoolFiles

START = datetime(2026, 5, 9, tzinfo=UTC)
ROOM = 1 << 20


def sample(number: int) -> Sample:
    return Sample(
        uuid="GPU-1", recorded_at=START + timedelta(seconds=number), utilization_pct=float(number % 100)
    )


def number_of(each: Sample) -> int:
    return round((each.recorded_at - START).total_seconds())


T = TypeVar("T")
LOOPS: list[asyncio.Runner] = []


def at_once(call: Callable[[], T]) -> asyncio.Future[T]:
    """As `aside`, without the thread: what a disk holds is asked here, and how long it takes elsewhere."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        outcome.set_result(call())
    except OSError as error:
        outcome.set_exception(error)
    return outcome


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One loop for all steps."""
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpuforge_agent.spool.aside", at_once)
        LOOPS.append(runner)
        yield
        LOOPS.clear()


class DiskSpool:
    """A Spool whose disk has caught up after each step."""

    def __init__(self, folder: Path, *, limit_bytes: int, in_memory: int = 5_000) -> None:
        self.files: list[SpoolFiles] = []
        self.spool = Spool(in_memory, lambda: self._opened(folder, limit_bytes))
        LOOPS[-1].run(self.spool._catch_up())

    def _opened(self, folder: Path, limit_bytes: int) -> SpoolFiles:
        self.files.append(SpoolFiles(folder, limit_bytes=limit_bytes))
        return self.files[-1]

    @property
    def losses(self) -> Losses:
        return self.spool.losses

    @property
    def size_bytes(self) -> int:
        return self.files[-1].size_bytes

    def __len__(self) -> int:
        return len(self.spool)

    def append(self, each: Sample) -> None:
        self.spool.append(each)
        LOOPS[-1].run(self.spool._catch_up())

    def peek(self, limit: int) -> Batch:
        return LOOPS[-1].run(self.spool.peek(limit))

    def ack(self, through: int) -> None:
        self.spool.ack(through)
        LOOPS[-1].run(self.spool._catch_up())

    def close(self) -> None:
        LOOPS[-1].run(self.spool.close())


def numbers(spool: DiskSpool, limit: int = 10_000) -> list[int]:
    """Which samples wait, by `sample(number)`."""
    return [number_of(each) for each in spool.peek(limit).samples]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def filled(folder: Path, count: int, *, limit_bytes: int = ROOM) -> DiskSpool:
    spool = DiskSpool(folder, limit_bytes=limit_bytes)
    for number in range(count):
        spool.append(sample(number))
    return spool


APPEND = st.just(("append", 0))
ACK = st.tuples(st.just("ack"), st.integers(1, 12))
RESTART = st.just(("restart", 0))


@settings(max_examples=60)
@given(
    steps=st.lists(APPEND | APPEND | ACK | RESTART, max_size=50),
    limit=st.integers(1, 10),
    limit_bytes=st.integers(200, 4_000),
)
def test_it_keeps_the_newest_in_order_over_restarts_and_its_counts_add_up(
    steps: list[tuple[str, int]], limit: int, limit_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        spool = DiskSpool(Path(name), limit_bytes=limit_bytes)
        appended = acknowledged = 0
        for step, count in steps:
            if step == "append":
                spool.append(sample(appended))
                appended += 1
            elif step == "restart":
                spool.close()
                spool = DiskSpool(Path(name), limit_bytes=limit_bytes)
            elif batch := spool.peek(count).numbers:
                spool.ack(batch[-1])
                acknowledged += len(batch)
            kept = list(range(appended - len(spool), appended))
            assert numbers(spool, limit) == kept[:limit]
            assert appended == acknowledged + spool.losses.dropped + len(spool)
            assert spool.losses.damaged == 0
            assert len(spool) <= 1 or spool.size_bytes <= limit_bytes + 100
        spool.close()


def test_a_queue_cut_at_any_byte_gives_all_that_was_whole_and_takes_more(folder: Path) -> None:
    filled(folder, 4).close()
    (whole,) = folder.glob("*.queue")
    content = whole.read_bytes()
    ends = [record.end for record in scan(whole)]
    for cut in range(len(content) + 1):
        whole.write_bytes(content[:cut])
        (folder / "cursor").write_bytes(b"")
        after = DiskSpool(folder, limit_bytes=ROOM)
        survivors = [
            place for place, end in enumerate(ends) if end - 1 <= cut
        ]  # without its newline is whole
        after.append(sample(99))
        assert numbers(after) == [*survivors, 99], cut
        after.close()
        again = DiskSpool(folder, limit_bytes=ROOM)
        assert numbers(again) == [*survivors, 99], cut
        again.close()


def test_a_flipped_bit_costs_the_sample_it_hits_and_is_counted(folder: Path) -> None:
    filled(folder, 4).close()
    (whole,) = folder.glob("*.queue")
    content, cursor = whole.read_bytes(), (folder / "cursor").read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        whole.write_bytes(flipped)
        (folder / "cursor").write_bytes(cursor)
        spool = DiskSpool(folder, limit_bytes=ROOM)
        spool.append(sample(4))
        hit = content[:place].count(b"\n")
        lost = {hit, hit + 1} if content[place] == ord("\n") else {hit}
        batch = spool.peek(100)
        assert [number_of(each) for each in batch.samples] == [n for n in range(5) if n not in lost - {4}]
        spool.ack(batch.numbers[-1])
        # of a damaged end nobody knows how much there was: its numbers are given again
        assert spool.losses.damaged == (0 if 3 in lost else len(lost))
        assert len(spool) == 0
        spool.close()


@settings(max_examples=60)
@given(noise=st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=40)), max_size=6))
def test_whatever_the_disk_does_what_is_read_was_written_and_in_order(
    noise: list[tuple[int, bytes]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled(folder, 60, limit_bytes=8_000).close()
        files = sorted(folder.iterdir())
        for place, junk in noise:
            path = files[place % len(files)]
            content = bytearray(path.read_bytes())
            at = place % (len(content) + 1)
            content[at : at + len(junk)] = junk
            path.write_bytes(content)
        spool = DiskSpool(folder, limit_bytes=ROOM)
        spool.append(sample(1_000))
        seen: list[int] = []
        while batch := spool.peek(7).samples:
            seen.extend(number_of(each) for each in batch)
            spool.ack(spool.peek(7).numbers[-1])
        assert seen == sorted(set(seen))
        assert set(seen) <= {*range(60), 1_000}
        assert len(spool) == 0
        assert seen[-1:] == [1_000]
        spool.close()


def test_a_file_that_vanished_is_counted_and_the_rest_delivered(folder: Path) -> None:
    filled(folder, 60, limit_bytes=8_000).close()
    files = sorted(folder.glob("*.queue"))
    starts = [int(each.stem) for each in files]
    files[0].unlink()
    files[2].unlink()
    spool = DiskSpool(folder, limit_bytes=8_000)
    batch = spool.peek(100)
    expected = [*range(starts[1], starts[2]), *range(starts[3], 60)]
    assert [number_of(each) for each in batch.samples] == expected
    spool.ack(batch.numbers[-1])
    assert spool.losses == Losses(damaged=60 - len(expected))
    assert len(spool) == 0


def test_a_queue_of_which_nothing_can_be_read_is_empty_and_goes_on(folder: Path) -> None:
    filled(folder, 5).close()
    (whole,) = folder.glob("*.queue")
    whole.write_bytes(bytes(whole.stat().st_size))  # as some file systems leave it after a power cut
    spool = DiskSpool(folder, limit_bytes=ROOM)
    assert spool.peek(10).samples == ()
    assert len(spool) == 0
    spool.append(sample(7))
    assert numbers(spool) == [7]


def test_a_lost_cursor_costs_repetition_and_never_a_sample(folder: Path) -> None:
    spool = filled(folder, 5)
    spool.ack(spool.peek(3).numbers[-1])
    assert numbers(spool) == [3, 4]
    spool.close()
    (folder / "cursor").unlink()
    assert numbers(DiskSpool(folder, limit_bytes=ROOM)) == [0, 1, 2, 3, 4]


def test_a_cursor_ahead_of_files_that_a_power_cut_took_swallows_nothing_new(folder: Path) -> None:
    spool = filled(folder, 5)
    spool.ack(spool.peek(5).numbers[-1])
    spool.close()
    (whole,) = folder.glob("*.queue")
    whole.write_bytes(b"")
    spool = DiskSpool(folder, limit_bytes=ROOM)
    assert len(spool) == 0
    spool.append(sample(9))
    assert numbers(spool) == [9]


def test_clock_steps_do_not_change_the_order(folder: Path) -> None:
    steps = [0, 1, 7200, 7201, 2, 3, -86400, 4]
    spool = DiskSpool(folder, limit_bytes=ROOM)
    for number in steps:
        spool.append(sample(number))
    assert numbers(spool) == steps
    spool.close()
    assert numbers(DiskSpool(folder, limit_bytes=ROOM)) == steps


def test_a_full_queue_drops_the_oldest_and_tells_the_gap_over_a_restart(folder: Path) -> None:
    spool = filled(folder, 200, limit_bytes=8_000)
    kept = numbers(spool)
    assert kept == list(range(kept[0], 200))
    assert spool.size_bytes <= 8_000
    told = Losses(dropped=kept[0], since=START, until=START + timedelta(seconds=kept[0]))
    assert spool.losses == told
    spool.close()
    assert DiskSpool(folder, limit_bytes=8_000).losses == told


def test_what_was_delivered_makes_room_without_a_loss(folder: Path) -> None:
    spool = DiskSpool(folder, limit_bytes=8_000)
    for number in range(500):
        spool.append(sample(number))
        spool.ack(spool.peek(10).numbers[-1])
    assert spool.losses == Losses()
    assert len(list(folder.glob("*.queue"))) <= 2


class FullDisk:
    """os.write on a disk that takes `room` more bytes, once `full` is set."""

    def __init__(self) -> None:
        self.full = False
        self.room = 0
        self._write = os.write

    def __call__(self, file: int, content: bytes) -> int:
        """Take what fits, as write(2) does, and refuse when nothing does."""
        if not self.full:
            return self._write(file, content)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(file, content[: self.room])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 1, 8, 60, 93, 94, 95, 150])
def test_a_full_disk_costs_nothing_while_memory_holds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    disk = FullDisk()
    monkeypatch.setattr("gpuforge_agent.segments.os.write", disk)
    spool = filled(folder, 2)
    disk.full, disk.room = True, room
    for number in (2, 3, 4):
        spool.append(sample(number))
    assert numbers(spool) == [0, 1, 2, 3, 4]
    assert len([each for each in caplog.records if "disk of the queue fails" in each.message]) in (1, 2)
    disk.full = False
    spool.append(sample(5))
    spool.close()
    after = DiskSpool(folder, limit_bytes=ROOM)
    assert numbers(after) == [0, 1, 2, 3, 4, 5]
    assert after.losses == Losses()


def test_what_neither_disk_nor_memory_holds_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk()
    monkeypatch.setattr("gpuforge_agent.segments.os.write", disk)
    spool = DiskSpool(folder, limit_bytes=ROOM, in_memory=3)
    disk.full = True
    for number in range(10):
        spool.append(sample(number))
    batch = spool.peek(100)
    assert [number_of(each) for each in batch.samples] == [7, 8, 9]
    spool.ack(batch.numbers[-1])
    assert spool.losses == Losses(dropped=7, since=START, until=START + timedelta(seconds=7))
    assert len(spool) == 0


def test_a_disk_that_turns_read_only_stops_no_delivery(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(folder, 100, limit_bytes=1 << 14)
    assert len(list(folder.glob("*.queue"))) > 2

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as disk:
        for call in ("Path.unlink", "os.pwrite", "os.write"):
            disk.setattr(f"gpuforge_agent.spool_files.{call}", refuse)
        spool.append(sample(100))
        waiting = numbers(spool)
        assert waiting[-1] == 100
        spool.ack(spool.peek(1000).numbers[-1])
        assert len(spool) == 0
    again = DiskSpool(folder, limit_bytes=ROOM)  # nothing was written: what was delivered is sent once more
    assert numbers(again) == waiting[:-1]
    again.close()
    spool.close()
    assert numbers(DiskSpool(folder, limit_bytes=ROOM)) == []


async def test_the_disk_is_made_to_keep_what_waits_and_not_what_was_delivered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []

    def note(paths: list[Path]) -> None:
        put_on_disk(paths)
        synced.append([path.name for path in paths])

    monkeypatch.setattr("gpuforge_agent.spool.put_on_disk", note)
    spool = Spool(100, lambda: SpoolFiles(folder, limit_bytes=ROOM))
    for number in range(3):
        spool.append(sample(number))
    await spool._catch_up()
    await spool.sync()
    await spool.sync()
    assert synced == [[f"{0:020}.queue", "queue"]]
    spool.append(sample(3))
    await spool._catch_up()
    spool.ack((await spool.peek(10)).numbers[-1])
    await spool.sync()
    assert len(synced) == 1


def test_an_older_agent_reads_what_a_newer_one_left(folder: Path) -> None:
    filled(folder, 1).close()
    (whole,) = folder.glob("*.queue")
    foreign = [
        b'{"uuid":"GPU-1","recorded_at":"2026-05-09T00:00:01Z","from_the_future":[1]}',
        b'{"recorded_at":"2026-05-09T00:00:02Z"}',  # of another shape: lost, but not in the way
        b'{"uuid":"GPU-1","recorded_at":"2026-05-09T00:00:03Z"}',
    ]
    with whole.open("ab") as file:
        file.writelines(frame(number, content) for number, content in enumerate(foreign, 1))
    assert numbers(DiskSpool(folder, limit_bytes=ROOM)) == [0, 1, 3]


@given(number=st.integers(0, 2**63), content=st.binary(max_size=200).filter(lambda each: b"\n" not in each))
def test_a_line_reads_back(number: int, content: bytes) -> None:
    assert unframe(frame(number, content)) == (number, content)
