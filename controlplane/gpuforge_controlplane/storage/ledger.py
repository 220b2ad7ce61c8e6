"""The ledger of GPU-seconds: the allocations it follows, its rows, its sums."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Select, Subquery, bindparam, func, null, or_, select, update

from gpuforge_controlplane.storage.billing_schema import usage_days, usage_events
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, jobs, nodes
from gpuforge_controlplane.storage.statements import insert, is_among, records

SumKey = tuple[str, int | None]  # family, rate


class OnMeter(TypedDict):
    """An allocation that is not metered to its end: `heard`, its job's nodes' oldest heartbeat."""

    allocation_id: int
    job_id: int
    gpu_id: int
    tenant_id: int | None
    family: str
    started_at: datetime
    ended_at: datetime | None
    metered_until: datetime | None
    heard: datetime | None
    run_started_at: datetime | None
    time_limit_min: int | None


class UsageRow(TypedDict):
    """A row for the ledger."""

    allocation_id: int
    job_id: int
    gpu_id: int
    tenant_id: int | None
    family: str
    rate_id: int | None
    started_at: datetime
    ended_at: datetime
    gpu_seconds: int
    metered_at: datetime


class Cursor(TypedDict):
    """How far an allocation is metered now."""

    of_allocation: int
    until: datetime
    at_its_end: bool


class LedgerRow(UsageRow):
    """A row of the ledger."""

    id: int
    invoice_id: int | None


class Accruing(TypedDict):
    """GPUs alike whose time runs on: `gpu_count` of a job, unmetered since `since`."""

    tenant_id: int | None
    family: str
    job_id: int
    since: datetime
    heard: datetime | None
    run_started_at: datetime | None
    time_limit_min: int | None
    gpu_count: int


class DaySum(TypedDict):
    """Metered GPU-seconds of a UTC day; tenant 0: none, rate 0: unrated."""

    day: datetime
    tenant_id: int
    family: str
    rate_id: int
    gpu_seconds: int


_SINCE = func.coalesce(allocations.c.metered_until, allocations.c.started_at)
_ON_METER: ColumnElement[bool] = allocations.c.settled.is_(False)


async def ended(
    tx: Connection, *, job_ids: Sequence[int] | None, tenant_id: int | None, limit: int
) -> list[OnMeter]:
    """Ended allocations that are not metered to their end, held until the transaction ends."""
    # how long its nodes were heard no longer matters, and would be asked of the whole fleet
    query = _on_meter(null()).where(allocations.c.ended_at.is_not(None)).limit(limit)
    if job_ids is not None:
        query = query.where(is_among(tx, allocations.c.job_id, job_ids))
    if tenant_id is not None:
        query = query.where(allocations.c.tenant_id == tenant_id)
    return records(await tx.execute(query), OnMeter)


async def running(
    tx: Connection, *, before: datetime, tenant_id: int | None, after: int, limit: int
) -> list[OnMeter]:
    """Open allocations beyond id `after` that are unmetered since before `before`, held likewise."""
    heard = _heard(tenant_id)
    query = (
        _on_meter(heard.c.heard)
        .join(heard, heard.c.job_id == allocations.c.job_id)
        .where(allocations.c.ended_at.is_(None), before > _SINCE, allocations.c.id > after)
    )
    if tenant_id is not None:
        query = query.where(allocations.c.tenant_id == tenant_id)
    return records(await tx.execute(query.limit(limit)), OnMeter)


async def append(tx: Connection, rows: Sequence[UsageRow], cursors: Sequence[Cursor]) -> None:
    """Add rows and move the cursors past them: both or neither. A second time fails by constraint."""
    if rows:
        await tx.execute(insert(tx, usage_events), [dict(row) for row in rows])
        added = insert(tx, usage_days)
        total = usage_days.c.gpu_seconds + added.excluded.gpu_seconds
        keys = [usage_days.c[name] for name in ("day", "tenant_id", "family", "rate_id")]
        await tx.execute(
            added.on_conflict_do_update(index_elements=keys, set_={"gpu_seconds": total}), _day_sums(rows)
        )
    if cursors:
        await tx.execute(
            update(allocations)
            .where(allocations.c.id == bindparam("of_allocation"))
            .values(metered_until=bindparam("until"), settled=bindparam("at_its_end")),
            [dict(cursor) for cursor in cursors],
        )


async def accruing(
    tx: Connection, *, tenant_id: int | None = None, before: datetime | None = None
) -> list[Accruing]:
    """What is allocated and not metered yet, GPUs alike together; all, or what is so since before a time."""
    heard = _heard(tenant_id)
    query = (
        select(
            allocations.c.tenant_id,
            allocations.c.family,
            allocations.c.job_id,
            _SINCE.label("since"),
            heard.c.heard,
            jobs.c.started_at.label("run_started_at"),
            jobs.c.time_limit_min,
            func.count().label("gpu_count"),
        )
        .join(jobs, jobs.c.id == allocations.c.job_id)
        .join(heard, heard.c.job_id == allocations.c.job_id)
        .where(_ON_METER, allocations.c.ended_at.is_(None))
        .group_by(
            allocations.c.tenant_id,
            allocations.c.family,
            allocations.c.job_id,
            _SINCE,
            heard.c.heard,
            jobs.c.started_at,
            jobs.c.time_limit_min,
        )
        .order_by(allocations.c.job_id)
    )
    if tenant_id is not None:
        query = query.where(allocations.c.tenant_id == tenant_id)
    if before is not None:
        query = query.where(before > _SINCE)
    return records(await tx.execute(query), Accruing)


async def first_unmetered(tx: Connection) -> tuple[datetime | None, datetime | None]:
    """The first end that is not in the ledger yet, and since when the longest unmetered GPU runs on."""
    # One look along the index of what is on the meter, for both.
    query = select(
        func.min(allocations.c.ended_at), func.min(_SINCE).filter(allocations.c.ended_at.is_(None))
    ).where(_ON_METER)
    end, since = (await tx.execute(query)).one()
    return end, since


async def day_sums(tx: Connection, *, since: datetime, tenant_id: int | None = None) -> list[DaySum]:
    """Metered sums of the days from `since` (a midnight) on."""
    query = select(usage_days).where(usage_days.c.day >= since).order_by(usage_days.c.day)
    if tenant_id is not None:
        query = query.where(usage_days.c.tenant_id == tenant_id)
    return records(await tx.execute(query), DaySum)


async def unbilled(tx: Connection, tenant_id: int, since: datetime, until: datetime) -> dict[SumKey, int]:
    """GPU-seconds on no invoice that reach into [since, until), by family and rate."""
    return await _sums(tx, _claimable(tenant_id, since, until))


async def is_owed(tx: Connection, tenant_id: int) -> bool:
    """Whether the tenant used anything that is rated and on no invoice, or still uses something."""
    row = select(usage_events.c.id).where(
        usage_events.c.tenant_id == tenant_id,
        usage_events.c.invoice_id.is_(None),
        usage_events.c.rate_id.is_not(None),
    )
    running = select(allocations.c.id).where(_ON_METER, allocations.c.tenant_id == tenant_id)
    return bool(await tx.scalar(select(or_(row.exists(), running.exists()))))


async def claim(tx: Connection, invoice_id: int, tenant_id: int, since: datetime, until: datetime) -> None:
    """Put every rated row that `unbilled` counts on this invoice."""
    await tx.execute(
        update(usage_events)
        .where(_claimable(tenant_id, since, until), usage_events.c.rate_id.is_not(None))
        .values(invoice_id=invoice_id)
    )


async def claimed(tx: Connection, invoice_id: int) -> dict[SumKey, int]:
    """GPU-seconds on an invoice, by family and rate."""
    return await _sums(tx, usage_events.c.invoice_id == invoice_id)


async def release(tx: Connection, invoice_id: int) -> None:
    """Free the rows of a voided invoice for another."""
    await tx.execute(
        update(usage_events).where(usage_events.c.invoice_id == invoice_id).values(invoice_id=None)
    )


async def page(
    tx: Connection, *, tenant_id: int | None, since: datetime, until: datetime, before_id: int, limit: int
) -> list[LedgerRow]:
    """Rows that began in [since, until), newest first, below `before_id`."""
    query = (
        select(usage_events)
        .where(
            usage_events.c.started_at >= since,
            usage_events.c.started_at < until,
            usage_events.c.id < before_id,
        )
        .order_by(usage_events.c.id.desc())
        .limit(limit)
    )
    if tenant_id is not None:
        query = query.where(usage_events.c.tenant_id == tenant_id)
    return records(await tx.execute(query), LedgerRow)


def _on_meter(heard: ColumnElement[Any]) -> Select[Any]:
    return (
        select(
            allocations.c.id.label("allocation_id"),
            allocations.c.job_id,
            allocations.c.gpu_id,
            allocations.c.tenant_id,
            allocations.c.family,
            allocations.c.started_at,
            allocations.c.ended_at,
            allocations.c.metered_until,
            heard.label("heard"),
            jobs.c.started_at.label("run_started_at"),
            jobs.c.time_limit_min,
        )
        .join(jobs, jobs.c.id == allocations.c.job_id)
        .where(_ON_METER)
        .order_by(allocations.c.id)
        .with_for_update(of=allocations)
    )


def _heard(tenant_id: int | None) -> Subquery:
    """The oldest heartbeat of the nodes of each running job; of one tenant where that is given."""
    query = (
        select(allocations.c.job_id, func.min(nodes.c.last_heartbeat_at).label("heard"))
        .join(nodes, nodes.c.id == allocations.c.node_id)
        .where(_ON_METER, allocations.c.ended_at.is_(None))
        .group_by(allocations.c.job_id)
    )
    if tenant_id is not None:
        query = query.where(allocations.c.tenant_id == tenant_id)
    return query.subquery()


async def _sums(tx: Connection, which: ColumnElement[bool]) -> dict[SumKey, int]:
    query = (
        select(usage_events.c.family, usage_events.c.rate_id, func.sum(usage_events.c.gpu_seconds))
        .where(which)
        .group_by(usage_events.c.family, usage_events.c.rate_id)
    )
    return {(row[0], row[1]): int(row[2]) for row in (await tx.execute(query)).all()}


def _claimable(tenant_id: int, since: datetime, until: datetime) -> ColumnElement[bool]:
    return (
        (usage_events.c.tenant_id == tenant_id)
        & usage_events.c.invoice_id.is_(None)
        & (usage_events.c.ended_at > since)
        & (usage_events.c.ended_at <= until)
    )


def _day_sums(rows: Sequence[UsageRow]) -> list[dict[str, object]]:
    """In one order, so that two transactions never wait for each other in a circle."""
    sums: dict[tuple[datetime, int, str, int], int] = {}
    for row in rows:
        day = row["started_at"].replace(hour=0, minute=0, second=0, microsecond=0)
        key = (day, row["tenant_id"] or 0, row["family"], row["rate_id"] or 0)
        sums[key] = sums.get(key, 0) + row["gpu_seconds"]
    names = ("day", "tenant_id", "family", "rate_id", "gpu_seconds")
    return [dict(zip(names, (*key, seconds), strict=True)) for key, seconds in sorted(sums.items())]


def ends_by(run_started_at: datetime | None, time_limit_min: int | None) -> datetime | None:
    """When a job's time limit ends its run; None without one."""
    if run_started_at is None or time_limit_min is None:
        return None
    return run_started_at + timedelta(minutes=time_limit_min)
