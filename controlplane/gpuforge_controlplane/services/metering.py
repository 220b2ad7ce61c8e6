"""The meter at work: what was allocated becomes rows of the ledger, each second once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gpuforge_controlplane.domain.metering import (
    RateBook,
    Segment,
    from_second,
    metered_to,
    segments,
    whole_second,
)
from gpuforge_controlplane.storage import leases, ledger, rates
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.ledger import Accruing, Cursor, OnMeter, UsageRow
from gpuforge_shared.clock import Clock

CHUNK = 2_000  # allocations a transaction


async def run_meter(database: Database, clock: Clock, token: int) -> None:
    """One round, under the lease's fencing token: what was left over, and whatever runs up to the last
    midnight. Raises LeaseLostError if leadership has moved.

    Each chunk is a transaction of its own: rows and cursors move together, so a round that dies half-way has
    lost and repeated nothing. What runs is metered once a day, at its end, and for an invoice; in between,
    answers add what is about to be metered.
    """

    async def leftovers(tx: Connection) -> bool:
        await leases.guard(tx, token)
        return await meter_ended(tx, clock())

    async def chunk(tx: Connection) -> int | None:
        await leases.guard(tx, token)
        now = clock()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return await meter_running(tx, now, to=midnight, after=after or 0)

    while await database.transact(leftovers):
        pass
    after: int | None = 0
    while after is not None:
        after = await database.transact(chunk)


async def meter_ended(
    tx: Connection, now: datetime, *, job_ids: Sequence[int] | None = None, tenant_id: int | None = None
) -> bool:
    """Meter a chunk of ended allocations to their ends; of these jobs, or this tenant, where they are given.
    Whether there may be more."""
    await rates.hold(tx)
    found = await ledger.ended(tx, job_ids=job_ids, tenant_id=tenant_id, limit=CHUNK)
    await _append(tx, found, now, now)
    return len(found) == CHUNK


async def meter_running(
    tx: Connection, now: datetime, *, to: datetime, after: int = 0, tenant_id: int | None = None
) -> int | None:
    """Meter a chunk of the open allocations beyond id `after` up to `to`; the last id, None past the end."""
    await rates.hold(tx)
    found = await ledger.running(tx, before=to, tenant_id=tenant_id, after=after, limit=CHUNK)
    await _append(tx, found, to, now)
    return found[-1]["allocation_id"] if len(found) == CHUNK else None


def pending_segments(open_: Accruing, now: datetime, book: RateBook) -> list[Segment]:
    """What the meter would write of each of these GPUs if it came to `now`."""
    until = metered_to(now, open_["heard"], ledger.ends_by(open_["run_started_at"], open_["time_limit_min"]))
    since = whole_second(open_["since"])
    return segments(since, whole_second(until), open_["family"], open_["tenant_id"], book)


async def _append(tx: Connection, found: Sequence[OnMeter], cut: datetime, now: datetime) -> None:
    if not found:
        return
    book = await rates.book(tx, {each["family"] for each in found})
    rows: list[UsageRow] = []
    cursors: list[Cursor] = []
    for each in found:
        since, until = each["metered_until"] or each["started_at"], _until(each, cut)
        pieces = segments(whole_second(since), whole_second(until), each["family"], each["tenant_id"], book)
        rows += (_row(each, piece, now) for piece in pieces)
        if pieces or each["ended_at"] is not None:
            cursors.append(_cursor(each, since, until))
    await ledger.append(tx, rows, cursors)


def _until(each: OnMeter, cut: datetime) -> datetime:
    if each["ended_at"] is not None:
        return each["ended_at"]
    return metered_to(cut, each["heard"], ledger.ends_by(each["run_started_at"], each["time_limit_min"]))


def _cursor(each: OnMeter, since: datetime, until: datetime) -> Cursor:
    return Cursor(
        of_allocation=each["allocation_id"],
        until=max(since, until),
        at_its_end=each["ended_at"] is not None,
    )


def _row(each: OnMeter, piece: Segment, now: datetime) -> UsageRow:
    return UsageRow(
        allocation_id=each["allocation_id"],
        job_id=each["job_id"],
        gpu_id=each["gpu_id"],
        tenant_id=each["tenant_id"],
        family=each["family"],
        rate_id=piece.rate_id,
        started_at=from_second(piece.start_s),
        ended_at=from_second(piece.end_s),
        gpu_seconds=piece.seconds,
        metered_at=now,
    )
