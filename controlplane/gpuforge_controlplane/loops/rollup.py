"""The rollup's clock: looks every ten seconds, by the leader alone."""

from __future__ import annotations

from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.services.rollup import roll_up
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_shared.clock import Clock

LOOK_S = 10.0


class Rollup:
    """Rolls samples up while this replica leads."""

    def __init__(self, database: Database, leadership: Leadership, clock: Clock, kept: Kept) -> None:
        self._database = database
        self._leadership = leadership
        self._clock = clock
        self._kept = kept

    async def __call__(self) -> None:
        """One round, if this replica leads."""
        token = self._leadership.token
        if token is None:
            return
        try:
            await roll_up(self._database, self._clock(), token, self._kept)
        except LeaseLostError:
            self._leadership.lost()
