"""The queue between reading and delivery: bounded, in order, and it counts what it had to drop."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One GPU's figures at one moment, as yet without the id that the control plane gives the GPU."""

    uuid: str
    recorded_at: datetime
    utilization_pct: float | None = None
    memory_used_mb: int | None = None
    memory_total_mb: int | None = None
    temperature_c: float | None = None
    power_draw_w: float | None = None
    missing: Mapping[str, str] | None = None


class Losses(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was never delivered, counted since the queue exists."""

    dropped: int = 0
    """Samples that had to make room for newer ones."""
    damaged: int = 0
    """Samples that the disk did not keep: it was full, or is broken."""
    since: datetime | None = None
    """The last gap: when the oldest of the samples dropped was recorded …"""
    until: datetime | None = None
    """… and the oldest that was kept; None where that was not written yet."""

    def gap(self, samples: int, since: datetime | None, until: datetime | None) -> Losses:
        """With so many more dropped, recorded from `since` up to `until`. A gap that goes on stays one."""
        goes_on = self.until is not None and self.until == since
        return Losses(
            dropped=self.dropped + samples,
            damaged=self.damaged,
            since=self.since if goes_on else since,
            until=until,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples with their numbers, the oldest first. A number may be missing: that sample is damaged."""

    numbers: tuple[int, ...] = ()
    samples: tuple[Sample, ...] = ()


class Spool(Protocol):
    """What delivery needs of a queue. Numbers rise from sample to sample, whatever the clock does."""

    @property
    def losses(self) -> Losses:
        """What was never delivered."""
        ...

    def __len__(self) -> int:
        """Samples not yet acknowledged; damaged ones count until they are found."""
        ...

    def append(self, sample: Sample) -> None:
        """Add the newest sample. Never raises."""
        ...

    def peek(self, limit: int) -> Batch:
        """The oldest samples, `limit` at most; they stay until they are acknowledged."""
        ...

    def ack(self, through: int) -> None:
        """Forget every sample up to and including this number. Those that went before do no harm."""
        ...

    async def sync(self) -> None:
        """Put on the disk what is not yet there. Never raises."""
        ...

    def close(self) -> None:
        """Let go of the files; what they hold stays."""
        ...


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


class MemorySpool:
    """A Spool that lives as long as its process."""

    def __init__(self, capacity: int) -> None:
        """`capacity` ≥ 1: samples kept; when it is full, the oldest goes."""
        self._capacity = capacity
        self._samples: deque[Sample] = deque()
        self._first = 0
        self._losses = Losses()

    @property
    def losses(self) -> Losses:
        """See Spool."""
        return self._losses

    def __len__(self) -> int:
        return len(self._samples)

    def append(self, sample: Sample) -> None:
        """See Spool."""
        self._samples.append(sample)
        if len(self._samples) > self._capacity:
            oldest = self._samples.popleft()
            self._first += 1
            self._losses = self._losses.gap(1, oldest.recorded_at, self._samples[0].recorded_at)

    def peek(self, limit: int) -> Batch:
        """See Spool."""
        samples = tuple(islice(self._samples, limit))
        return Batch(numbers=tuple(range(self._first, self._first + len(samples))), samples=samples)

    def ack(self, through: int) -> None:
        """See Spool."""
        while self._samples and self._first <= through:
            self._samples.popleft()
            self._first += 1

    async def sync(self) -> None:
        """See Spool: there is no disk."""

    def close(self) -> None:
        """See Spool."""
