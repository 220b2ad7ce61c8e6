"""Keeping raw samples, repeatable answers, logs and past alerts for their time, and no longer."""

from __future__ import annotations

from datetime import datetime, timedelta

from gpuforge_controlplane.domain.buckets import BEGINNING, FIVE_MINUTES, Kept
from gpuforge_controlplane.domain.fleet import MAX_AHEAD
from gpuforge_controlplane.storage import (
    alerts,
    cycles,
    fleet_use,
    idempotency,
    kpis,
    metrics,
    notices,
    partitions,
    rollups,
    transitions,
)
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.partitions import Partitioned

EVERY_S = 60.0
CYCLES_KEPT_FOR = timedelta(days=7)  # the scheduler's log; what became of jobs is in their histories for good
EVENTS_KEPT_FOR = timedelta(days=90)  # after they were resolved
TRANSITIONS_KEPT_FOR = timedelta(days=30)  # nobody resumes a stream that is older
USE_KEPT_FOR = timedelta(days=90)  # of the whole fleet, by five minutes
HOURS_KEPT_FOR = timedelta(days=400)  # sums by the hour, as hourly rollups
_DAYS_AHEAD = timedelta(days=2)  # of partitions, in case nobody is there to make the next one


async def prepare(database: Database, now: datetime, kept: Kept) -> None:
    """See that every sample which ingest accepts, and what it is rolled up to, has a partition to go to
    (PostgreSQL)."""
    last = now + MAX_AHEAD + _DAYS_AHEAD
    async with database.write() as tx:
        await partitions.ensure(tx, partitions.SAMPLES, now - kept.raw, last)
        oldest = min(now - kept.raw, await rollups.progress(tx) or now) - FIVE_MINUTES
        for table, keep in ((partitions.FIVE_MINUTES, kept.five_minutes), (partitions.HOURS, kept.hours)):
            await partitions.ensure(tx, table, max(oldest, now - keep), last)


async def enforce(database: Database, now: datetime, kept: Kept) -> None:
    """Drop samples and rollups, repeatable answers, the scheduler's log and alerts past their time.

    Samples that are not rolled up yet stay. Safe on all replicas at once.
    """
    await prepare(database, now, kept)
    async with database.write() as tx:
        await idempotency.prune(tx, now)
        await cycles.prune(tx, now - CYCLES_KEPT_FOR)
        await alerts.prune(tx, now - EVENTS_KEPT_FOR)
        await transitions.prune(tx, now - TRANSITIONS_KEPT_FOR)
        await kpis.prune(tx, now - HOURS_KEPT_FOR)
        await fleet_use.prune(tx, now - USE_KEPT_FOR)
        await notices.prune(tx, now - CYCLES_KEPT_FOR)
    more = True
    while more:  # a slice a transaction, so that no other write waits long
        async with database.write() as tx:
            more = await metrics.prune(tx, await _rolled_up(tx, now - kept.raw))
    for table, keep in ((partitions.FIVE_MINUTES, kept.five_minutes), (partitions.HOURS, kept.hours)):
        await _forget(database, table, now - keep)


async def _rolled_up(tx: Connection, before: datetime) -> datetime:
    """`before`, or the end of what is rolled up where that is earlier."""
    done, late = await rollups.progress(tx), await rollups.oldest_late(tx)
    if done is None:
        return BEGINNING
    return min(before, done, late or done)


async def _forget(database: Database, table: Partitioned, before: datetime) -> None:
    after = 0
    while True:
        async with database.write() as tx:
            after = await rollups.prune(tx, table, before, after)
        if not after:
            return
