"""What leakage is read from: the GPUs that jobs hold, with rolled-up telemetry; invoices and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from sqlalchemy import ColumnElement, Select, case, column, func, select, union, values

from gpuforge_controlplane.domain.activity import IDLE_BELOW_PCT
from gpuforge_controlplane.domain.leakage import HeldGpu, Period, Spell, TenantUse
from gpuforge_controlplane.storage.alert_schema import allocation_hours
from gpuforge_controlplane.storage.billing_schema import (
    former_tenants,
    invoice_lines,
    invoices,
    usage_days,
    usage_events,
)
from gpuforge_controlplane.storage.columns import ID, UtcTime
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.rollup_schema import gpu_rollup_5m
from gpuforge_controlplane.storage.schema import allocations, gpu_metrics, gpus, jobs, nodes, tenants
from gpuforge_controlplane.storage.statements import is_among, records

_PERIODS_A_QUERY = 2_000  # three bound values each
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class HeldRow(TypedDict):
    """What is told of a GPU that a job holds."""

    gpu_id: int
    gpu_index: int | None
    family: str
    hostname: str
    cluster_id: int
    job_id: int
    job_name: str
    tenant_id: int | None
    started_at: datetime
    recorded_at: datetime | None


class InvoiceSpan(NamedTuple):
    """An invoice's part in what was billed."""

    tenant_id: int
    tenant_name: str
    since: datetime
    until: datetime
    status: str
    total_cents: int


class UsageSum(NamedTuple):
    """GPU-seconds of a tenant, family and rate, and when the last of them ended."""

    tenant_id: int
    family: str
    rate_id: int
    gpu_seconds: int
    last: datetime


async def fleet_size(tx: Connection) -> int:
    return int(await tx.scalar(select(func.count()).select_from(gpus)) or 0)


async def held_by_samples(
    tx: Connection, since: datetime, until: datetime, tenant_id: int | None
) -> list[HeldGpu]:
    """Means out of the samples recorded in (since, until]: reads them of the whole fleet, as they are in
    order of time."""
    means = (
        select(gpu_metrics.c.gpu_id, func.avg(gpu_metrics.c.utilization_pct).label("mean"))
        .where(gpu_metrics.c.recorded_at > since, gpu_metrics.c.recorded_at <= until)
        .group_by(gpu_metrics.c.gpu_id)
        .subquery()
    )
    query = _held(means.c.mean, since, tenant_id).outerjoin(means, means.c.gpu_id == allocations.c.gpu_id)
    return [HeldGpu._make(row) for row in (await tx.execute(query)).all()]


async def held_by_rollups(
    tx: Connection, since: datetime, until: datetime, tenant_id: int | None
) -> list[HeldGpu]:
    """Means out of stretches of five minutes in [since, until).

    A look-up for each GPU by the table's key, and not a join, for which PostgreSQL might read the whole day.
    """
    rolled = gpu_rollup_5m.c
    mean = (
        select(func.sum(rolled.utilization_sum) / func.nullif(func.sum(rolled.utilization_n), 0))
        .where(rolled.gpu_id == allocations.c.gpu_id, rolled.bucket >= since, rolled.bucket < until)
        .scalar_subquery()
    )
    return [HeldGpu._make(row) for row in (await tx.execute(_held(mean, since, tenant_id))).all()]


async def spells(
    tx: Connection, gpu_ids: Sequence[int], since: datetime, until: datetime
) -> dict[int, Spell]:
    """What is known of these GPUs' use in [since, until), by GPU."""
    rolled = gpu_rollup_5m.c
    busy = rolled.utilization_sum >= IDLE_BELOW_PCT * rolled.utilization_n
    query = (
        select(
            rolled.gpu_id,
            func.max(case((busy, rolled.bucket))).label("busy"),
            func.min(rolled.bucket).label("known"),
        )
        .where(
            is_among(tx, rolled.gpu_id, gpu_ids),
            rolled.bucket >= since,
            rolled.bucket < until,
            rolled.utilization_n > 0,
        )
        .group_by(rolled.gpu_id)
    )
    return {
        row.gpu_id: Spell(None if row.busy is None else row.busy + timedelta(minutes=5), row.known)
        for row in (await tx.execute(query)).all()
    }


async def held_rows(tx: Connection, gpu_ids: Sequence[int]) -> dict[int, HeldRow]:
    """What to tell of these GPUs, as long as they are held."""
    query = (
        select(
            allocations.c.gpu_id,
            gpus.c.gpu_index,
            allocations.c.family,
            nodes.c.hostname,
            nodes.c.cluster_id,
            allocations.c.job_id,
            jobs.c.name.label("job_name"),
            allocations.c.tenant_id,
            allocations.c.started_at,
            gpus.c.recorded_at,
        )
        .join(gpus, gpus.c.id == allocations.c.gpu_id)
        .join(nodes, nodes.c.id == allocations.c.node_id)
        .join(jobs, jobs.c.id == allocations.c.job_id)
        .where(allocations.c.ended_at.is_(None), is_among(tx, allocations.c.gpu_id, gpu_ids))
    )
    return {row["gpu_id"]: row for row in records(await tx.execute(query), HeldRow)}


async def tenant_use(tx: Connection, since: datetime, tenant_id: int | None) -> list[TenantUse]:
    """What tenants held in the hours that begin at `since` or later, and how much of it they used."""
    table = allocation_hours.c
    query = (
        select(table.tenant_id, func.sum(table.held_s), func.sum(table.told_s), func.sum(table.used_pct_s))
        .where(table.hour >= since, table.tenant_id > 0)
        .group_by(table.tenant_id)
    )
    if tenant_id is not None:
        query = query.where(table.tenant_id == tenant_id)
    found = (await tx.execute(query)).all()
    return [TenantUse(row[0], int(row[1]), int(row[2]), float(row[3])) for row in found]


async def invoice_spans(tx: Connection, tenant_id: int | None) -> list[InvoiceSpan]:
    """All invoices, in order of tenant and number."""
    names = ("tenant_id", "tenant_name", "period_start", "period_end", "status", "total_cents")
    query = select(*(invoices.c[name] for name in names)).order_by(invoices.c.tenant_id, invoices.c.id)
    if tenant_id is not None:
        query = query.where(invoices.c.tenant_id == tenant_id)
    return [InvoiceSpan._make(row) for row in (await tx.execute(query)).all()]


async def invoiced_lines(tx: Connection, tenant_id: int | None) -> list[tuple[int, int, int]]:
    """Tenant, GPU-seconds and price of every line of invoices that are not void: the rows these claimed."""
    query = (
        select(invoices.c.tenant_id, invoice_lines.c.gpu_seconds, invoice_lines.c.price_micros)
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(invoices.c.status != "void")
    )
    if tenant_id is not None:
        query = query.where(invoices.c.tenant_id == tenant_id)
    return [(row[0], row[1], row[2]) for row in (await tx.execute(query)).all()]


async def unbilled_within(tx: Connection, periods: Sequence[tuple[int, Period]]) -> list[UsageSum]:
    """Rated usage on no invoice that ended within these periods of tenants, which must not overlap."""
    found: list[UsageSum] = []
    for first in range(0, len(periods), _PERIODS_A_QUERY):
        part = periods[first : first + _PERIODS_A_QUERY]
        given = values(
            column("tenant_id", ID), column("since", UtcTime), column("until", UtcTime), name="periods"
        ).data([(tenant_id, *period) for tenant_id, period in part])
        wanted = given.cte("periods")
        query = _sums().join(
            wanted,
            (usage_events.c.tenant_id == wanted.c.tenant_id)
            & (usage_events.c.ended_at > wanted.c.since)
            & (usage_events.c.ended_at <= wanted.c.until),
        )
        found += await _usage_sums(tx, query)
    return found


async def expired(tx: Connection, before: datetime, tenant_id: int | None) -> list[UsageSum]:
    """Rated usage on no invoice that ended at `before` or earlier."""
    owners: Sequence[int] = () if tenant_id is None else (tenant_id,)
    if tenant_id is None:  # asked for one by one, as else the index leads through all that is recent
        owners = (await tx.scalars(union(select(tenants.c.id), select(former_tenants.c.id)))).all()
    return await unbilled_within(tx, [(owner, Period(_BEGINNING, before)) for owner in owners])


async def unrated_seconds(tx: Connection, since: datetime, tenant_id: int | None) -> dict[str, int]:
    """Metered GPU-seconds without a rate by family, of the days from `since` on."""
    query = (
        select(usage_days.c.family, func.sum(usage_days.c.gpu_seconds))
        .where(usage_days.c.day >= since, usage_days.c.rate_id == 0)
        .group_by(usage_days.c.family)
    )
    if tenant_id is not None:
        query = query.where(usage_days.c.tenant_id == tenant_id)
    return {row[0]: int(row[1]) for row in (await tx.execute(query)).all()}


async def held_families(tx: Connection) -> set[str]:
    """The families of what jobs hold."""
    query = select(allocations.c.family).where(allocations.c.ended_at.is_(None)).distinct()
    return set((await tx.scalars(query)).all())


def _held(mean: ColumnElement[float], since: datetime, tenant_id: int | None) -> Select[Any]:
    query = select(allocations.c.gpu_id, allocations.c.family, allocations.c.tenant_id, mean).where(
        allocations.c.ended_at.is_(None), allocations.c.started_at <= since
    )
    return query if tenant_id is None else query.where(allocations.c.tenant_id == tenant_id)


def _sums() -> Select[Any]:
    key = (usage_events.c.tenant_id, usage_events.c.family, usage_events.c.rate_id)
    return (
        select(*key, func.sum(usage_events.c.gpu_seconds), func.max(usage_events.c.ended_at))
        .select_from(usage_events)
        .where(usage_events.c.invoice_id.is_(None), usage_events.c.rate_id.is_not(None))
        .group_by(*key)
    )


async def _usage_sums(tx: Connection, query: Select[Any]) -> list[UsageSum]:
    return [UsageSum(row[0], row[1], row[2], int(row[3]), row[4]) for row in (await tx.execute(query)).all()]
