"""What the executive figures are made of: the fleet's latest state, and GPU time held, by hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, TypedDict

from sqlalchemy import ColumnElement, and_, case, delete, func, select, update

from gpuforge_controlplane.domain.activity import Activity
from gpuforge_controlplane.domain.kpis import Held, Prices
from gpuforge_controlplane.storage.alert_schema import allocation_hours
from gpuforge_controlplane.storage.billing_schema import rates
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, gpus, jobs, nodes
from gpuforge_controlplane.storage.statements import insert, records


class FleetCounts(TypedDict):
    """GPUs in place on nodes that are not retired; the sum of utilisation is in percent."""

    total: int
    active: int
    reporting: int
    utilization_sum: float
    healthy: int


class LiveJobs(NamedTuple):
    """How many jobs by status, and GPUs of those that run by tenant."""

    by_status: Mapping[str, int]
    gpus_in_use: Mapping[int | None, int]


async def fleet_counts(tx: Connection, *, fresh_since: datetime, tenant_id: int | None) -> FleetCounts:
    """One pass over the fleet, or over what a tenant's jobs hold. Fresh: heard from since `fresh_since`."""
    there = nodes.c.last_heartbeat_at >= fresh_since
    told = and_(there, gpus.c.recorded_at >= fresh_since, gpus.c.utilization_pct.is_not(None))
    well = and_(
        there,
        func.coalesce(gpus.c.recorded_at, gpus.c.created_at) >= fresh_since,
        gpus.c.status != "unhealthy",
    )
    query = (
        select(
            func.count().label("total"),
            _count_if(and_(there, gpus.c.status == "active")).label("active"),
            _count_if(told).label("reporting"),
            func.coalesce(func.sum(case((told, gpus.c.utilization_pct))), 0.0).label("utilization_sum"),
            _count_if(well).label("healthy"),
        )
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .where(gpus.c.gpu_index.is_not(None), nodes.c.retired_at.is_(None))
    )
    if tenant_id is not None:
        held = select(allocations.c.gpu_id).join(jobs, jobs.c.id == allocations.c.job_id)
        own = held.where(allocations.c.ended_at.is_(None), jobs.c.tenant_id == tenant_id)
        query = query.where(gpus.c.id.in_(own))
    return records(await tx.execute(query), FleetCounts)[0]


async def live_jobs(tx: Connection, tenant_id: int | None) -> LiveJobs:
    """Live jobs of everybody or of a tenant; a job that runs holds exactly the GPUs that it asked for.

    By status and tenant at once: of one status alone SQLite would walk all jobs there ever were, by tenant.
    """
    query = (
        select(jobs.c.status, jobs.c.tenant_id, func.count(), func.sum(jobs.c.gpu_count))
        .where(jobs.c.status.in_(("queued", "blocked", "running")))
        .group_by(jobs.c.status, jobs.c.tenant_id)
    )
    if tenant_id is not None:
        query = query.where(jobs.c.tenant_id == tenant_id)
    by_status: dict[str, int] = {}
    in_use: dict[int | None, int] = {}
    for status, tenant, count, gpu_count in (await tx.execute(query)).all():
        by_status[status] = by_status.get(status, 0) + count
        if status == "running":
            in_use[tenant] = int(gpu_count)
    return LiveJobs(by_status, in_use)


async def held(tx: Connection, since: datetime, until: datetime, tenant_id: int | None) -> list[Held]:
    """GPU time that jobs held in the hours that begin in `[since, until)`."""
    table = allocation_hours.c
    query = (
        select(table.family, table.tenant_id, func.sum(table.held_s), func.sum(table.idle_s))
        .where(table.hour >= since, table.hour < until)
        .group_by(table.tenant_id, table.family)  # in this order SQLite compares integers first: a third less
    )
    if tenant_id is not None:
        query = query.where(table.tenant_id == tenant_id)
    return [Held(row[0], row[1], int(row[2]), int(row[3])) for row in (await tx.execute(query)).all()]


async def idle_gpus(tx: Connection, since: datetime, tenant_id: int | None) -> int:
    """GPUs that jobs hold and have not used for half an hour, at the latest look since `since`."""
    table = allocation_hours.c
    last = select(func.max(table.hour)).where(table.hour >= since).scalar_subquery()
    query = select(func.coalesce(func.sum(table.idle_gpus), 0)).where(table.hour == last)
    if tenant_id is not None:
        query = query.where(table.tenant_id == tenant_id)
    return int((await tx.execute(query)).scalar_one())


async def prices(tx: Connection, now: datetime) -> Prices:
    """What holds at `now`. A tenant's own price may be null: from then on the list price holds again."""
    columns = (rates.c.family, rates.c.tenant_id, rates.c.price_micros)
    query = select(*columns).where(rates.c.effective_from <= now).order_by(rates.c.effective_from)
    latest = {(row[0], row[1]): row[2] for row in (await tx.execute(query)).all()}
    return {key: price for key, price in latest.items() if price is not None}


async def add_hours(
    tx: Connection, hour: datetime, seconds: int, seen: Mapping[tuple[int, str], Activity]
) -> None:
    """Count `seconds` of what was seen, and note which GPUs idle now."""
    table = allocation_hours.c
    await tx.execute(update(allocation_hours).where(table.hour == hour).values(idle_gpus=0))
    rows = [
        {
            "hour": hour,
            "tenant_id": tenant_id,
            "family": family,
            "held_s": found.held * seconds,
            "idle_s": found.idle * seconds,
            "idle_gpus": found.idle_long,
            "told_s": found.told * seconds,
            "used_pct_s": found.used_pct * seconds,
        }
        for (tenant_id, family), found in sorted(seen.items())
    ]
    if not rows:
        return
    fresh = insert(tx, allocation_hours)
    counted = fresh.on_conflict_do_update(
        index_elements=[table.hour, table.tenant_id, table.family],
        set_={
            "held_s": table.held_s + fresh.excluded.held_s,
            "idle_s": table.idle_s + fresh.excluded.idle_s,
            "idle_gpus": fresh.excluded.idle_gpus,
            "told_s": table.told_s + fresh.excluded.told_s,
            "used_pct_s": table.used_pct_s + fresh.excluded.used_pct_s,
        },
    )
    await tx.execute(counted, rows)


async def prune(tx: Connection, before: datetime) -> None:
    await tx.execute(delete(allocation_hours).where(allocation_hours.c.hour < before))


def hour_of(moment: datetime) -> datetime:
    """The hour that a moment lies in."""
    return moment - timedelta(minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)


def _count_if(what: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((what, 1)))
