"""How far this host's clock is from the control plane's, as far as one exchange can tell."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

logger = logging.getLogger(__name__)

FAR_OFF_S = 30.0
LOOSE_S = 5.0  # an answer that took longer tells nothing worth storing


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """Ours minus theirs: positive where this host is ahead. The truth lies within `bound_s` of `seconds`."""

    seconds: float
    bound_s: float

    @property
    def is_far_off(self) -> bool:
        """Whether it is more than 30 s for certain, however the exchange was delayed."""
        return abs(self.seconds) - self.bound_s > FAR_OFF_S


def measured(asked_at: datetime, took_s: float, theirs: datetime) -> ClockOffset:
    """From the moment we asked, by our clock, how long the answer took, and the moment it says it was.

    Theirs lies somewhere between asking and answer: the middle is off by half of that time at most (the one
    exchange of RFC 5905, 8). `took_s` comes from a clock that nobody sets.
    """
    return ClockOffset(seconds=(asked_at - theirs).total_seconds() + took_s / 2, bound_s=took_s / 2)


class ClockWatch:
    """The offset as measured last, and a word in the log when it becomes large or small again."""

    def __init__(self) -> None:
        self.offset: ClockOffset | None = None
        self._told = False

    def note(self, asked_at: datetime, took_s: float, theirs: datetime | None) -> None:
        """Take an exchange in. An older control plane may not tell its time, and a slow answer too little."""
        if theirs is None or theirs.tzinfo is None or took_s > LOOSE_S:
            return
        self.offset = measured(asked_at, took_s, theirs)
        if self.offset.is_far_off == self._told:
            return
        self._told = self.offset.is_far_off
        if self._told:
            logger.warning(
                "this host's clock is %+.1f s off the control plane's: its samples bear wrong times",
                self.offset.seconds,
                extra={"clock_offset_s": round(self.offset.seconds, 3)},
            )
        else:
            logger.info("this host's clock agrees with the control plane's again")
