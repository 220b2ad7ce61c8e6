"""The executive figures on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.base import Query


class FleetUtilization(TypedDict):
    """`percentage`: mean utilisation of the GPUs that report now; null, and `no_data`, where none does."""

    percentage: float | None
    active_gpus: int
    total_gpus: int
    status: Literal["good", "fair", "low", "no_data"]


class RevenueLeakage(TypedDict):
    """`percentage`: cost of GPU time that jobs held and did not use, of the cost of all they held, in 24 h.

    `direction`: against the 24 h before. `idle_allocated_gpus`: held and not used for half an hour.
    """

    percentage: float
    idle_allocated_gpus: int
    direction: Literal["up", "down", "flat"]


class TenantQuota(TypedDict):
    """An active tenant and what its running jobs hold."""

    tenant_id: int
    name: str
    gpus_in_use: int
    gpu_quota: int
    percentage: float


class QuotaUtilization(TypedDict):
    """GPUs held by active tenants' jobs, of the sum of their quotas."""

    percentage: float
    gpus_in_use: int
    total_quota: int
    tenants: list[TenantQuota]


class FleetHealth(TypedDict):
    """`healthy`: heartbeat and telemetry are fresh, and there is no fault."""

    healthy: int
    total: int
    status: Literal["healthy", "has_issues", "critical"]


class ActiveJobs(TypedDict):
    """Jobs by status, now."""

    running: int
    queued: int
    blocked: int


class Kpis(TypedDict):
    """GET /api/dashboard/kpis."""

    fleet_utilization: FleetUtilization
    revenue_leakage: RevenueLeakage
    quota_utilization: QuotaUtilization
    fleet_health: FleetHealth
    active_jobs: ActiveJobs


class AllocationHistoryQuery(Query):
    """GET /api/dashboard/allocation-history."""

    hours: Annotated[int, Field(ge=1, le=720)] = Field(default=24, description="How far back from now.")


class AllocationHistory(TypedDict):
    """The whole fleet over time, a list a field, one item a point; null where nobody watched.

    Point k is a mean over [timestamps[k], timestamps[k] + step_s), the last one up to now. Used: allocated,
    and not known to idle.
    """

    step_s: int
    timestamps: list[datetime]
    total_gpus: list[float | None]
    allocated_gpus: list[float | None]
    used_gpus: list[float | None]
