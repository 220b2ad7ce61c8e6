"""What a queue holds, and what it says of its losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

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

    def damage(self, samples: int) -> Losses:
        """With so many more that the disk did not keep."""
        return msgspec.structs.replace(self, damaged=self.damaged + samples)

    def and_then(self, later: Losses) -> Losses:
        """Both together; the last gap is that of `later`, if it has one."""
        last = self if later.since is None else later
        return Losses(
            dropped=self.dropped + later.dropped,
            damaged=self.damaged + later.damaged,
            since=last.since,
            until=last.until,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples with their numbers, the oldest first. A number may be missing: that sample is damaged."""

    numbers: tuple[int, ...] = ()
    samples: tuple[Sample, ...] = ()
