"""The scheduler's clock: a cycle every 30 s, and within a second of anything that may change a plan."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.services import scheduling
from gpuforge_controlplane.storage import jobs
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_shared.clock import Clock

LOOK_S = 0.25  # how often the leader looks whether something was written, on whichever replica
DEAF_AFTER = timedelta(seconds=30)  # a longer time without a look, and heartbeats may have been missed


class Schedule:
    """Decides when a cycle is due, and runs it.

    Every write of a person or an agent leaves an audit row (a submission, an end, a quota, a node's state
    or return), so the newest row's id tells the leader that there is something to do, without any wiring
    between replicas. The scheduler's own writes leave none, so it does not wake itself.
    """

    def __init__(self, database: Database, leadership: Leadership, clock: Clock, every_s: float) -> None:
        self._database = database
        self._leadership = leadership
        self._clock = clock
        self._every_s = every_s
        self._seen = (-1, 0)
        self._looked: datetime | None = None
        self._hearing_since: datetime | None = None
        self._due = 0.0
        self._rest_until = 0.0

    async def __call__(self) -> None:
        """Look once; run a cycle if this replica leads and one is due."""
        token = self._leadership.token
        if token is None:
            self._hearing_since = None
            return
        async with self._database.read() as tx:
            latest = await jobs.latest_write(tx)
        hearing_since = self._listen()
        began = time.monotonic()
        if began < self._rest_until or (latest == self._seen and began < self._due):
            return
        try:
            await scheduling.run_cycle(self._database, self._clock, token, hearing_since=hearing_since)
        except LeaseLostError:
            self._leadership.lost()
            return
        self._seen = latest  # what was written while the cycle ran is seen at the next look
        ended = time.monotonic()
        self._due = ended + self._every_s
        self._rest_until = ended + (ended - began)  # in a burst, leave half of the time to the requests

    def _listen(self) -> datetime:
        """Since when this replica has led without a break, so that no heartbeat can have been missed.

        After an outage of the control plane, of the database or of the leader all nodes look silent: their
        jobs are theirs until they had the time to be heard again.
        """
        now, before = self._clock(), self._looked
        if self._hearing_since is None or before is None or now - before > DEAF_AFTER:
            self._hearing_since = now
        self._looked = now
        return self._hearing_since
