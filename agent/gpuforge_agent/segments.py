"""The files of the disk queue: numbered records, one a line with its checksum, in segments deleted whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

LONGEST_LINE = 1 << 16  # a sample has some 200 bytes; a block of zeros left by a power cut has no end
_NAME = re.compile(r"(\d{20})\.queue")


@dataclass(frozen=True, slots=True)
class Record:
    """One line that was read back whole. `end` is the offset in its file behind it."""

    number: int
    content: bytes
    end: int


def frame(number: int, content: bytes) -> bytes:
    """`<crc32 of the rest, 8 hex digits> <number> <content>` and a newline; `content` must hold none."""
    body = b"%d %b" % (number, content)
    return b"%08x %b\n" % (crc32(body), body)


def unframe(line: bytes) -> tuple[int, bytes] | None:
    """Number and content of a line, None where it is damaged. A newline that was cut off does not matter."""
    body = line.removesuffix(b"\n")[9:]
    if line[:9] != b"%08x " % crc32(body):
        return None
    number, _, content = body.partition(b" ")
    return (int(number), content) if number.isdigit() else None


def scan(path: Path, offset: int = 0) -> Iterator[Record]:
    """The records of a file from `offset` on; damaged lines are passed over. Raises OSError.

    A line ends at a newline whatever precedes it, so damage costs the line it hits, two where it hits the
    newline between them, and nothing after.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while line := file.readline(LONGEST_LINE):
            offset += len(line)
            if (found := unframe(line)) is not None:
                yield Record(*found, offset)


@dataclass(slots=True)
class Segment:
    """A file of records in order; `first` is the number of its first one, and its name."""

    path: Path
    first: int
    size: int = 0  # bytes
    synced: int = 0  # bytes known to be on the disk itself

    @property
    def is_torn(self) -> bool:
        """Whether its last line was not finished: killed while writing, or the disk was full."""
        if self.size == 0:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"


def segments_in(folder: Path) -> list[Segment]:
    """The segments of a folder, the oldest first; other files are passed over. Raises OSError."""
    found = [
        Segment(path, int(name[1]), path.stat().st_size)
        for path in folder.iterdir()
        if (name := _NAME.fullmatch(path.name))
    ]
    return sorted(found, key=lambda segment: segment.first)


class SegmentWriter:
    """Appends lines to one segment. What `write` took is in the kernel's hands: kill -9 costs none of it."""

    def __init__(self, segment: Segment) -> None:
        """Go on where the file ends. Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.segment = segment
        self._file = os.open(segment.path, flags, 0o600)
        self._torn = segment.is_torn

    def write(self, line: bytes) -> None:
        """Append a line, which begins on a new one even after a write that failed. Raises OSError."""
        whole = b"\n" + line if self._torn else line
        self._torn = True  # until all of it is there
        written = os.write(self._file, whole)
        self.segment.size += written
        if written < len(whole):
            raise OSError("the disk took only a part of a line")
        self._torn = False

    def close(self) -> None:
        os.close(self._file)


def segment_of(folder: Path, first: int) -> Segment:
    """A new segment, not yet on the disk."""
    return Segment(folder / f"{first:020}.queue", first)


def put_on_disk(paths: list[Path]) -> None:
    """fdatasync(2) those that still exist. Blocks, for seconds on a busy disk. Raises OSError."""
    for path in paths:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # delivered meanwhile
        try:
            os.fdatasync(file)
        finally:
            os.close(file)
