"""Keeping raw samples, repeatable answers, logs and past alerts for their time, and no longer."""

from __future__ import annotations

from datetime import datetime, timedelta

from gpuforge_controlplane.domain.fleet import MAX_AHEAD
from gpuforge_controlplane.storage import alerts, cycles, idempotency, kpis, metrics, notices
from gpuforge_controlplane.storage.database import Database

EVERY_S = 60.0
CYCLES_KEPT_FOR = timedelta(days=7)  # the scheduler's log; what became of jobs is in their histories for good
EVENTS_KEPT_FOR = timedelta(days=90)  # after they were resolved
HOURS_KEPT_FOR = timedelta(days=400)  # sums by the hour, as hourly rollups
_DAYS_AHEAD = timedelta(days=2)  # of partitions, in case nobody is there to make the next one


async def prepare(database: Database, now: datetime, keep: timedelta) -> None:
    """See that every sample which ingest accepts has a partition to go to (PostgreSQL)."""
    async with database.write() as tx:
        await metrics.ensure_partitions(tx, now - keep, now + MAX_AHEAD + _DAYS_AHEAD)


async def enforce(database: Database, now: datetime, keep: timedelta) -> None:
    """Drop samples older than `keep`, repeatable answers, the scheduler's log and alerts past their time.

    Safe on all replicas at once.
    """
    await prepare(database, now, keep)
    async with database.write() as tx:
        await idempotency.prune(tx, now)
        await cycles.prune(tx, now - CYCLES_KEPT_FOR)
        await alerts.prune(tx, now - EVENTS_KEPT_FOR)
        await kpis.prune(tx, now - HOURS_KEPT_FOR)
        await notices.prune(tx, now - CYCLES_KEPT_FOR)
    more = True
    while more:  # a slice a transaction, so that no other write waits long
        async with database.write() as tx:
            more = await metrics.prune(tx, now - keep)
