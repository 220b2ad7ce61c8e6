"""The executive figures, read from the fleet's latest state and from hourly sums."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from gpuforge_controlplane.domain import kpis as domain
from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.services.context import LIST_CAP, Context
from gpuforge_controlplane.storage import kpis, tenants
from gpuforge_controlplane.storage.kpis import FleetCounts
from gpuforge_shared.wire.kpis import (
    ActiveJobs,
    FleetHealth,
    FleetUtilization,
    Kpis,
    QuotaUtilization,
    RevenueLeakage,
    TenantQuota,
)

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


async def executive_kpis(ctx: Context) -> Kpis:
    """Utilisation, leakage, quotas, health and jobs, now. A tenant's key sees its own share of them."""
    own = ctx.principal.tenant_id
    fleet = await kpis.fleet_counts(ctx.tx, fresh_since=ctx.now - OFFLINE_AFTER, tenant_id=own)
    jobs = await kpis.live_jobs(ctx.tx, own)
    return Kpis(
        fleet_utilization=_utilization(fleet),
        revenue_leakage=await _leakage(ctx, own),
        quota_utilization=await _quotas(ctx, own, jobs.gpus_in_use),
        fleet_health=FleetHealth(
            healthy=fleet["healthy"],
            total=fleet["total"],
            status=domain.health_status(fleet["healthy"], fleet["total"]),
        ),
        active_jobs=ActiveJobs(
            running=jobs.by_status.get("running", 0),
            queued=jobs.by_status.get("queued", 0),
            blocked=jobs.by_status.get("blocked", 0),
        ),
    )


def _utilization(fleet: FleetCounts) -> FleetUtilization:
    mean = fleet["utilization_sum"] / fleet["reporting"] if fleet["reporting"] else None
    return FleetUtilization(
        percentage=None if mean is None else round(mean, 1),
        active_gpus=fleet["active"],
        total_gpus=fleet["total"],
        status=domain.utilization_status(mean),
    )


async def _leakage(ctx: Context, own: int | None) -> RevenueLeakage:
    """24 hours of the clock with the present one, against the 24 before; both at today's prices."""
    following = kpis.hour_of(ctx.now) + HOUR
    prices = await kpis.prices(ctx.tx, ctx.now)
    held = await kpis.held(ctx.tx, following - DAY, following, own)
    held_before = await kpis.held(ctx.tx, following - 2 * DAY, following - DAY, own)
    now, before = domain.leakage_pct(held, prices), domain.leakage_pct(held_before, prices)
    return RevenueLeakage(
        percentage=round(now, 1),
        idle_allocated_gpus=await kpis.idle_gpus(ctx.tx, following - 2 * HOUR, own),
        direction=domain.direction(now, before),
    )


async def _quotas(ctx: Context, own: int | None, used: Mapping[int | None, int]) -> QuotaUtilization:
    found = await tenants.page(ctx.tx, only=own, limit=LIST_CAP)
    active = [tenant for tenant in found if tenant["status"] == "active"]
    rows = [
        TenantQuota(
            tenant_id=tenant["id"],
            name=tenant["name"],
            gpus_in_use=used.get(tenant["id"], 0),
            gpu_quota=tenant["gpu_quota"],
            percentage=round(domain.percentage(used.get(tenant["id"], 0), tenant["gpu_quota"]), 1),
        )
        for tenant in active
    ]
    in_use, quota = sum(row["gpus_in_use"] for row in rows), sum(row["gpu_quota"] for row in rows)
    return QuotaUtilization(
        percentage=round(domain.percentage(in_use, quota), 1),
        gpus_in_use=in_use,
        total_quota=quota,
        tenants=rows,
    )
