"""The queue between reading and delivery: bounded, in order, and it counts what it had to drop."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One GPU's figures at one moment, as yet without the id that the control plane gives the GPU."""

    uuid: str
    recorded_at: datetime
    utilization_pct: float | None = None
    memory_used_mb: int | None = None
    memory_total_mb: int | None = None
    temperature_c: float | None = None
    power_draw_w: float | None = None
    missing: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Consecutive samples, the oldest first; sample k has the number `first + k`."""

    first: int
    samples: tuple[Sample, ...]

    @property
    def last(self) -> int:
        """Number of the last sample; `first - 1` when there is none."""
        return self.first + len(self.samples) - 1


class Spool(Protocol):
    """What delivery needs of a queue. Numbers start at 0 and are never given twice."""

    @property
    def dropped(self) -> int:
        """Samples that had to make room before they were delivered."""
        ...

    def __len__(self) -> int: ...

    def append(self, sample: Sample) -> None:
        """Add the newest sample."""
        ...

    def peek(self, limit: int) -> Batch:
        """The oldest samples, `limit` at most; they stay until they are acknowledged."""
        ...

    def ack(self, through: int) -> None:
        """Forget every sample up to and including this number. Those that went before do no harm."""
        ...


class MemorySpool:
    """A Spool that lives as long as its process."""

    def __init__(self, capacity: int) -> None:
        """`capacity` ≥ 1: samples kept; when it is full, the oldest goes."""
        self._capacity = capacity
        self._samples: deque[Sample] = deque()
        self._first = 0
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """See Spool."""
        return self._dropped

    def __len__(self) -> int:
        return len(self._samples)

    def append(self, sample: Sample) -> None:
        """See Spool."""
        if len(self._samples) == self._capacity:
            self._samples.popleft()
            self._first += 1
            self._dropped += 1
        self._samples.append(sample)

    def peek(self, limit: int) -> Batch:
        """See Spool."""
        return Batch(first=self._first, samples=tuple(islice(self._samples, limit)))

    def ack(self, through: int) -> None:
        """See Spool."""
        while self._samples and self._first <= through:
            self._samples.popleft()
            self._first += 1
