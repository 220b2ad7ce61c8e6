"""The files of a queue: bounded, in order, and whole again after kill -9, a power cut or a damaged block.

What is kept is written at once, without waiting for the disk: kill -9 costs nothing that was. Syncing is for
the power cut, and has work only while samples wait: a host whose control plane answers hardly ever syncs.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

from gpuforge_agent.sample import Losses, Sample
from gpuforge_agent.segments import (
    Record,
    Segment,
    SegmentWriter,
    frame,
    scan,
    segment_of,
    segments_in,
    unframe,
)

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 1 << 20
_CURSOR_BYTES = 256  # of one length, so that writing it over itself never leaves a longer one's tail
_DECODER = msgspec.json.Decoder(Sample)

Numbered = tuple[int, Sample]


class SpoolFiles:
    """The part of a Spool that is on disk. Any call may block for as long as the disk does; one at a time."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Open the folder, made if need be, with what it holds. Raises OSError.

        `limit_bytes`: of all its segments; when it is reached, the oldest segment goes.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._limit = limit_bytes
        self._segment_bytes = max(1, min(SEGMENT_BYTES, limit_bytes // 8))
        self.first = 0
        """Number of the oldest sample that is not done with."""
        self.next = 0
        """Number behind the newest."""
        self.losses = Losses()
        self._ends: list[Record] = []  # what was read last of the oldest segment
        self._offset = 0  # in the oldest segment: before it, all is done with
        self._saved: tuple[int, Losses] | None = None
        self._unreadable: str | None = None
        self._segments = segments_in(folder)
        self._cursor = os.open(folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._recover()
            self._writer = SegmentWriter(self._segments[-1])
        except OSError:
            os.close(self._cursor)
            raise

    @property
    def size_bytes(self) -> int:
        """Bytes of its segments, delivered samples included until their segment goes."""
        return sum(segment.size for segment in self._segments)

    def keep(self, first: int, losses: Losses, samples: Iterable[Numbered]) -> None:
        """What comes before number `first` is done with; write these samples behind what is there.

        Raises OSError: `next` is the number behind those that were written all the same. Where they need room
        of the oldest, `first` and `losses` say so.
        """
        self.first, self.losses = first, losses
        self._save()
        while len(self._segments) > 1 and self._segments[1].first <= first:
            self._remove_oldest()
        passed = bisect_right(self._ends, first - 1, key=lambda record: record.number)
        if passed:
            self._offset = self._ends[passed - 1].end
        for number, sample in samples:
            if number < self.next:  # by a call that nobody waited for
                continue
            self._write(number, frame(number, msgspec.json.encode(sample)))
            self.next = number + 1

    def read(self, limit: int, first: int) -> list[Numbered]:
        """The oldest samples from number `first` on that can be read, `limit` at most."""
        oldest = self._segments[0]
        found: list[Numbered] = []
        self._ends = []
        for segment, record, sample in islice(self._waiting(first), limit):
            found.append((record.number, sample))
            if segment is oldest:
                self._ends.append(record)
        return found

    def unsynced(self) -> list[tuple[Segment, int]]:
        """Segments that may not be on the disk itself yet, with their size in bytes."""
        return [(segment, segment.size) for segment in self._segments if segment.synced < segment.size]

    def close(self) -> None:
        """Let go of the files; what they hold stays."""
        self._writer.close()
        os.close(self._cursor)

    def _recover(self) -> None:
        """Find the place of the first and the next sample, however the last life ended."""
        saved = _read_cursor(self._cursor)
        self.first, self.losses = saved or (self._segments[0].first if self._segments else 0, Losses())
        if not self._segments:
            self._segments = [segment_of(self.folder, self.first)]
        elif self.first < self._segments[0].first:  # a file is gone, with what it held
            self.losses = self.losses.damage(self._segments[0].first - self.first)
            self.first = self._segments[0].first
        last = self._segments[-1]
        numbers = (record.number for record in scan(last.path)) if last.size else ()
        # in a file of which nothing can be read there was one sample at least
        self.next = max(self.first, max(numbers, default=last.first - (last.size == 0)) + 1)

    def _write(self, number: int, line: bytes) -> None:
        if self._writer.segment.size >= self._segment_bytes:
            writer = SegmentWriter(segment_of(self.folder, number))
            self._writer.close()
            self._writer = writer
            self._segments.append(writer.segment)
        while len(self._segments) > 1 and self.size_bytes + len(line) > self._limit:
            self._drop_oldest()
        self._writer.write(line)

    def _drop_oldest(self) -> None:
        """Make room: the oldest segment goes, with all in it that was not delivered."""
        lost, since = self._segments[1].first - self.first, self._oldest_time()
        self._remove_oldest()
        if lost > 0:
            self.first += lost
            self.losses = self.losses.gap(lost, since, self._oldest_time())
            self._save()

    def _remove_oldest(self) -> None:
        self._segments[0].path.unlink(missing_ok=True)
        del self._segments[0]
        self._offset, self._ends = 0, []

    def _oldest_time(self) -> datetime | None:
        return next((sample.recorded_at for _, _, sample in self._waiting(self.first)), None)

    def _waiting(self, expected: int) -> Iterator[tuple[Segment, Record, Sample]]:
        """What can be read from that number on, in order, with the segment that it lies in."""
        for segment, record in self._records():
            if record.number < expected:
                continue
            try:
                sample = _DECODER.decode(record.content)
            except msgspec.MsgspecError:  # whole, but of a shape that this version does not know
                continue
            expected = record.number + 1
            yield segment, record, sample

    def _records(self) -> Iterator[tuple[Segment, Record]]:
        for place, segment in enumerate(self._segments):
            try:
                if segment.size:
                    for record in scan(segment.path, 0 if place else self._offset):
                        yield segment, record
            except OSError as error:  # such as a bad block: it costs the rest of its segment
                if str(error) != self._unreadable:
                    logger.warning("a part of the queue can't be read: %s", error)
                self._unreadable = str(error)

    def _save(self) -> None:
        """Say how far delivery came. Unsynced: should it be lost, samples are sent twice and stored once."""
        if self._saved == (self.first, self.losses):
            return
        room = _CURSOR_BYTES - len(frame(self.first, b""))
        os.pwrite(self._cursor, frame(self.first, msgspec.json.encode(self.losses).ljust(room)), 0)
        self._saved = (self.first, self.losses)


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
