"""Stretches of time that samples are rolled up by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FIVE_MINUTES = timedelta(minutes=5)
HOUR = timedelta(hours=1)
# A bucket is rolled up this long after its end. Samples that arrive after the end mark their bucket as late,
# so this is what a transaction may last, and replicas' clocks may differ by, before one could slip through.
SETTLED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long samples are kept: as they came, by five minutes, by hour."""

    raw: timedelta = timedelta(hours=24)
    five_minutes: timedelta = timedelta(days=14)
    hours: timedelta = timedelta(days=400)


BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # before any sample


def start_of(moment: datetime, width: timedelta = FIVE_MINUTES) -> datetime:
    """The start of the bucket that a moment falls into: a multiple of `width` since 1970."""
    return moment - (moment - BEGINNING) % width


def settled_until(now: datetime) -> datetime:
    """The end of the last bucket that may be rolled up."""
    return start_of(now - SETTLED_AFTER)
