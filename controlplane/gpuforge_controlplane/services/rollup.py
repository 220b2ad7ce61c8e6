"""Rolling samples up: each bucket once it has settled, and again where samples came late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby

from gpuforge_controlplane.domain.buckets import BEGINNING, FIVE_MINUTES, Kept, settled_until, start_of
from gpuforge_controlplane.storage import leases, rollups
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.rollups import Rolled

CHUNK = 2_000  # GPUs a transaction: other writers wait some 50 ms at most
MARKS = 50_000  # of late buckets, dealt with in one round


async def roll_up(database: Database, now: datetime, token: int, kept: Kept) -> None:
    """Roll up what has settled and what came late, under the lease's fencing token.

    Raises LeaseLostError if leadership has moved. A bucket is always summed from its samples and written over
    what was there, so that doing it twice, or again after a crash half-way, comes to the same. Sums are read
    outside of the transactions that write them: whatever comes between marks its bucket as late.
    """
    settled = settled_until(now)
    while (start := await _next_bucket(database, settled)) < settled:
        await _roll(database, token, start)
    await _finish(database, token, settled, [])
    await _roll_late(database, token, settled, now - kept.five_minutes)


async def _next_bucket(database: Database, settled: datetime) -> datetime:
    """The first bucket that is not rolled up and has a sample; `settled` where there is none."""
    async with database.read() as tx:
        oldest = await rollups.oldest_sample(tx, await rollups.progress(tx))
    return settled if oldest is None else start_of(oldest)


async def _roll(database: Database, token: int, start: datetime) -> None:
    end = start + FIVE_MINUTES
    async with database.read() as tx:  # one snapshot: the sums have all that these marks are about
        marks = await rollups.late(tx, start, end, MARKS)
        rows = await rollups.summed(tx, start, end)
    await _store(database, token, start, rows)
    await _finish(database, token, end, marks.ids)


async def _roll_late(database: Database, token: int, settled: datetime, oldest: datetime) -> None:
    async with database.read() as tx:
        marks = await rollups.late(tx, BEGINNING, settled, MARKS)
    for bucket, pairs in groupby(marks.pairs, key=lambda pair: pair[0]):
        if bucket < oldest:
            continue  # nobody keeps such a bucket any more
        async with database.read() as tx:
            rows = await rollups.summed(tx, bucket, bucket + FIVE_MINUTES, [gpu_id for _, gpu_id in pairs])
        await _store(database, token, bucket, rows)
    if marks.ids:
        await _finish(database, token, None, marks.ids)


async def _store(database: Database, token: int, bucket: datetime, rows: Sequence[Rolled]) -> None:
    for chunk in _chunks(rows):
        async with database.write() as tx:
            await leases.guard(tx, token)
            await rollups.store(tx, bucket, chunk)


async def _finish(database: Database, token: int, done_until: datetime | None, marks: Sequence[int]) -> None:
    async with database.write() as tx:
        await leases.guard(tx, token)
        if done_until is not None:
            await rollups.advance(tx, done_until)
        await rollups.forget_late(tx, marks)


def _chunks(rows: Sequence[Rolled]) -> Iterator[Sequence[Rolled]]:
    for first in range(0, len(rows), CHUNK):
        yield rows[first : first + CHUNK]
