"""The queue on disk: bounded, in order, and whole again after kill -9, a power cut or a damaged block.

What is appended is written at once, without waiting for the disk: kill -9 costs nothing. `sync` is for the
power cut, and has work only while samples wait: a host whose control plane answers hardly ever syncs.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from gpuforge_agent.segments import (
    Record,
    Segment,
    SegmentWriter,
    frame,
    put_on_disk,
    scan,
    segment_of,
    segments_in,
    unframe,
)
from gpuforge_agent.spool import Batch, Losses, Sample
from gpuforge_shared.aside import aside

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 1 << 20
_CURSOR_BYTES = 256  # of one length, so that writing it over itself never leaves a longer one's tail
_DECODER = msgspec.json.Decoder(Sample)


class DiskSpool:
    """A Spool in a folder of its own. While the disk takes nothing, the newest samples wait in memory."""

    def __init__(self, folder: Path, *, limit_bytes: int, in_memory: int = 5_000) -> None:
        """Open the folder, made if need be, with what it holds. Raises OSError.

        `limit_bytes`: of all its segments; when it is reached, the oldest segment goes. `in_memory`: samples.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit_bytes
        self._segment_bytes = max(1, min(SEGMENT_BYTES, limit_bytes // 8))
        self._in_memory = in_memory
        self._unwritten: deque[tuple[int, bytes]] = deque()  # numbers and lines that the disk did not take
        self._trouble: str | None = None
        self._peeked: list[int] = []  # numbers of the last peek
        self._ends: list[Record] = []  # those of them that lie in the oldest segment
        self._offset = 0  # in the oldest segment: before it, all is acknowledged
        self._segments = segments_in(folder)
        self._cursor = os.open(folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._recover()
        self._writer = SegmentWriter(self._segments[-1])

    @property
    def losses(self) -> Losses:
        """See Spool."""
        return self._losses

    @property
    def size_bytes(self) -> int:
        """Bytes of its segments, delivered samples included until their segment goes."""
        return sum(segment.size for segment in self._segments)

    def __len__(self) -> int:
        return self._next - self._first

    def append(self, sample: Sample) -> None:
        """See Spool. A sample that the disk does not take waits in memory, and is written when it does."""
        self._unwritten.append((self._next, frame(self._next, msgspec.json.encode(sample))))
        self._next += 1
        try:
            while self._unwritten:
                self._write(*self._unwritten[0])
                self._unwritten.popleft()
            self._tell(None)
        except OSError as error:
            self._tell(error)
        if len(self._unwritten) > self._in_memory:
            self._unwritten.popleft()  # a gap in the numbers, counted when delivery comes to it

    def peek(self, limit: int) -> Batch:
        """See Spool."""
        oldest = self._segments[0]
        numbers: list[int] = []
        samples: list[Sample] = []
        self._ends = []
        for segment, record, sample in islice(self._waiting(), limit):
            numbers.append(record.number)
            samples.append(sample)
            if segment is oldest:
                self._ends.append(record)
        self._peeked = numbers
        if not numbers and len(self):  # all that is left is damaged
            self._lose(len(self))
            self._advance(self._next)
        return Batch(numbers=tuple(numbers), samples=tuple(samples))

    def ack(self, through: int) -> None:
        """See Spool."""
        first, through = self._first, min(through, self._next - 1)
        if through < first:
            return
        read = bisect_right(self._peeked, through) - bisect_left(self._peeked, first)
        if self._peeked and self._peeked[-1] >= through and read <= through - first:
            self._lose(through - first + 1 - read)
        passed = bisect_right(self._ends, through, key=lambda record: record.number)
        if passed:
            self._offset = self._ends[passed - 1].end
        self._advance(through + 1)

    async def sync(self) -> None:
        """See Spool. Beside all else: a disk under load takes its time, and one that hangs for ever."""
        dirty = [segment for segment in self._segments if segment.synced < segment.size]
        if not dirty or not len(self):
            return
        sizes = [segment.size for segment in dirty]
        try:
            # the folder too: a file without a name is lost
            await aside(partial(put_on_disk, [*(segment.path for segment in dirty), self._folder]))
        except OSError as error:
            self._tell(error)
            return
        for segment, size in zip(dirty, sizes, strict=True):
            segment.synced = size

    def close(self) -> None:
        """See Spool."""
        self._writer.close()
        os.close(self._cursor)

    def _recover(self) -> None:
        """Find the place of the first and the next sample, however the last life ended."""
        saved = _read_cursor(self._cursor)
        first, self._losses = saved or (self._segments[0].first if self._segments else 0, Losses())
        if not self._segments:
            self._segments = [segment_of(self._folder, first)]
        elif first < self._segments[0].first:  # a file is gone, with what it held
            self._lose(self._segments[0].first - first)
            first = self._segments[0].first
        last = self._segments[-1]
        numbers = (record.number for record in scan(last.path)) if last.size else ()
        # in a file of which nothing can be read there was one sample at least
        self._next = max(first, max(numbers, default=last.first - (last.size == 0)) + 1)
        self._advance(first)

    def _advance(self, first: int) -> None:
        """What comes before that number is done with."""
        self._first = first
        while self._unwritten and self._unwritten[0][0] < first:
            self._unwritten.popleft()
        while len(self._segments) > 1 and self._segments[1].first <= first:
            self._remove_oldest()
        self._save()

    def _write(self, number: int, line: bytes) -> None:
        if self._writer.segment.size >= self._segment_bytes:
            writer = SegmentWriter(segment_of(self._folder, number))
            self._writer.close()
            self._writer = writer
            self._segments.append(writer.segment)
        while len(self._segments) > 1 and self.size_bytes + len(line) > self._limit:
            self._drop_oldest()
        self._writer.write(line)

    def _drop_oldest(self) -> None:
        """Make room: the oldest segment goes, with all in it that was not delivered."""
        lost, since = self._segments[1].first - self._first, self._oldest_time()
        self._remove_oldest()
        if lost > 0:
            self._first += lost
            self._losses = self._losses.gap(lost, since, self._oldest_time())
            self._save()

    def _remove_oldest(self) -> None:
        oldest = self._segments.pop(0)
        self._offset, self._ends = 0, []
        try:
            oldest.path.unlink(missing_ok=True)
        except OSError as error:  # such as a file system gone read-only: the next life removes it
            self._tell(error)

    def _oldest_time(self) -> datetime | None:
        return next((sample.recorded_at for _, _, sample in self._waiting()), None)

    def _waiting(self) -> Iterator[tuple[Segment | None, Record, Sample]]:
        """What is not acknowledged and can be read, in order, with the segment that it lies in."""
        expected = self._first
        for segment, record in self._records():
            if record.number < expected:
                continue
            try:
                sample = _DECODER.decode(record.content)
            except msgspec.MsgspecError:  # whole, but of a shape that this version does not know
                continue
            expected = record.number + 1
            yield segment, record, sample

    def _records(self) -> Iterator[tuple[Segment | None, Record]]:
        for place, segment in enumerate(self._segments):
            try:
                if segment.size:
                    for record in scan(segment.path, 0 if place else self._offset):
                        yield segment, record
            except OSError as error:  # such as a bad block: it costs the rest of its segment
                self._tell(error)
        for number, line in self._unwritten:
            yield None, Record(number, line.removesuffix(b"\n").split(b" ", 2)[2], 0)

    def _lose(self, samples: int) -> None:
        self._losses = msgspec.structs.replace(self._losses, damaged=self._losses.damaged + samples)
        logger.warning("the disk did not keep some samples of the queue", extra={"lost": samples})

    def _save(self) -> None:
        """Say how far delivery came. Unsynced: should it be lost, samples are sent twice and stored once."""
        room = _CURSOR_BYTES - len(frame(self._first, b""))
        try:
            os.pwrite(self._cursor, frame(self._first, msgspec.json.encode(self._losses).ljust(room)), 0)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError | None) -> None:
        """Log what ails the disk, once, and its recovery."""
        trouble = None if error is None else str(error)
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            logger.info("the queue is on disk again", extra={"folder": str(self._folder)})
        else:
            logger.error("the queue's disk fails: %s", trouble, extra={"folder": str(self._folder)})


def backlog(folder: Path) -> tuple[int, Losses, int]:
    """How many samples wait there at most, what is lost, bytes on disk; changes nothing. Raises OSError."""
    if not folder.exists():
        return 0, Losses(), 0
    segments = segments_in(folder)
    saved = None
    if (folder / "cursor").exists():
        cursor = os.open(folder / "cursor", os.O_RDONLY | os.O_CLOEXEC)
        saved = _read_cursor(cursor)
        os.close(cursor)
    first, losses = saved or (segments[0].first if segments else 0, Losses())
    ends = (record.number + 1 for record in scan(segments[-1].path)) if segments else ()
    size = sum(segment.size for segment in segments)
    return max(0, max(ends, default=first) - first), losses, size


def _read_cursor(file: int) -> tuple[int, Losses] | None:
    """How far delivery came, and the losses; None where that is not known."""
    found = unframe(os.pread(file, _CURSOR_BYTES, 0))
    if found is None:
        return None
    try:
        return found[0], msgspec.json.decode(found[1], type=Losses)
    except msgspec.MsgspecError:
        return None
