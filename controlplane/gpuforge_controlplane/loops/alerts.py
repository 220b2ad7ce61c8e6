"""The watch's clock: the rules every 30 s, by the leader alone, and never by a clock that has just jumped."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.services import watching
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_controlplane.storage.means import Lately
from gpuforge_shared.clock import Clock

LOOK_S = 1.0
EVERY_S = 30.0
STEP_S = 5.0  # the two clocks may drift apart by this much between two looks; a step is more
DEAF_AFTER_S = 30.0  # a longer time without a look, and heartbeats may have been missed


class Watch:
    """Decides when to evaluate, and knows since when nothing can have been missed."""

    def __init__(
        self,
        database: Database,
        leadership: Leadership,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._leadership = leadership
        self._clock = clock
        self._monotonic = monotonic
        self._hearing_since: datetime | None = None
        self._looked: tuple[datetime, float] | None = None
        self._due = 0.0
        self._lately = Lately()
        self._evaluated: datetime | None = None

    async def __call__(self) -> None:
        """Look once; evaluate if this replica leads and it is time."""
        token = self._leadership.token
        if token is None:
            self._hearing_since = self._looked = self._evaluated = None
            return
        hearing_since = self._listen()
        if self._monotonic() < self._due:
            return
        now, before = self._clock(), self._evaluated
        heard = 0 if before is None else round((now - before).total_seconds())
        try:
            await watching.run_evaluation(
                self._database,
                self._clock,
                token,
                hearing_since=hearing_since,
                seconds=heard,
                lately=self._lately,
            )
        except LeaseLostError:
            self._leadership.lost()
            return
        self._evaluated = now
        self._due = self._monotonic() + EVERY_S

    def _listen(self) -> datetime:
        """Since when this replica has led, awake and by one clock.

        After an outage everything looks silent, and after a step of the clock, too: what had been heard by
        the old one seems long ago, or yet to come.
        """
        now, ticks = self._clock(), self._monotonic()
        if self._hearing_since is None or self._looked is None or self._missed(now, ticks):
            self._hearing_since, self._evaluated = now, None
        self._looked = now, ticks
        return self._hearing_since

    def _missed(self, now: datetime, ticks: float) -> bool:
        assert self._looked is not None
        walked, ran = (now - self._looked[0]).total_seconds(), ticks - self._looked[1]
        return ran > DEAF_AFTER_S or abs(walked - ran) > STEP_S
