"""One evaluation of the alert rules: look, judge, write under guard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from gpuforge_controlplane.domain.alerts import Transition, evaluate
from gpuforge_controlplane.services.alerts import rules
from gpuforge_controlplane.storage import alerts, leases, watch
from gpuforge_controlplane.storage.database import Database
from gpuforge_shared.clock import Clock


async def run_evaluation(
    database: Database, clock: Clock, token: int, *, hearing_since: datetime
) -> Sequence[Transition]:
    """Evaluate all rules once under the lease's fencing token; what changed.

    Raises LeaseLostError if leadership has moved. One transaction writes everything: an evaluation that
    dies half-way has changed nothing. `hearing_since`: from when on a heartbeat would have been heard.
    """
    now = clock()
    async with database.read() as tx:
        known = await rules(tx)
        events = await alerts.open_events(tx)
        watched = await watch.load(tx, hearing_since)
    # In a thread: at 100,000 GPUs this takes a while, and requests are to go on.
    changes = await asyncio.to_thread(evaluate, known, watched, events, now.timestamp())
    if changes:
        async with database.write() as tx:
            await leases.guard(tx, token)
            await alerts.apply(tx, changes, now)
    return changes
