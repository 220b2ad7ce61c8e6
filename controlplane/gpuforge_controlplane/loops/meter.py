"""The meter's clock: every minute, by the leader alone: the ledger, overdue invoices, budgets."""

from __future__ import annotations

import logging
import time

from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.services import budgets, invoices, metering
from gpuforge_controlplane.storage import leases
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.leases import LeaseLostError
from gpuforge_shared.clock import Clock

LOOK_S = 1.0
EVERY_S = 60.0

_log = logging.getLogger(__name__)


class Meter:
    """Runs a round where this replica leads."""

    def __init__(self, database: Database, leadership: Leadership, clock: Clock) -> None:
        self._database = database
        self._leadership = leadership
        self._clock = clock
        self._due = 0.0

    async def __call__(self) -> None:
        token = self._leadership.token
        if token is None or time.monotonic() < self._due:
            return
        try:
            await metering.run_meter(self._database, self._clock, token)
            async with self._database.write() as tx:
                await leases.guard(tx, token)
                overdue = await invoices.turn_overdue(tx, self._clock())
            crossings = await budgets.note_crossings(self._database, self._clock())
        except LeaseLostError:
            self._leadership.lost()
            return
        self._due = time.monotonic() + EVERY_S
        for number in overdue:
            _log.warning("invoice is overdue", extra={"invoice": number})
        for tenant_id, percent in crossings:
            _log.warning("budget crossed", extra={"tenant_id": tenant_id, "percent": percent})
