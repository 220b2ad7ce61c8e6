"""The only reader of the wall clock; everything else is given `now` or a Clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, timezone-aware UTC, microsecond resolution."""
    return datetime.now(UTC)
