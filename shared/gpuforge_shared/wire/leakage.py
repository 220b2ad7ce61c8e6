"""Revenue leakage on the wire: what is lost, with the rows that prove it."""

from __future__ import annotations

from datetime import datetime

from typing_extensions import TypedDict  # pydantic reads typing's own from 3.12 on only

from gpuforge_shared.wire.billing import Money


class HeldGpu(TypedDict):
    """A GPU that a job has held for at least half an hour. `rate_per_hour` null: unrated."""

    gpu_id: int
    gpu_index: int | None
    gpu_type: str
    hostname: str
    cluster_id: int
    job_id: int
    job_name: str
    tenant_id: int | None
    tenant_name: str | None
    allocated_since: datetime
    rate_per_hour: Money | None


class IdleGpu(HeldGpu):
    """Held, and used under 10 % on average over the window. Idle minutes are told back to a day ago."""

    mean_utilization_pct: float
    idle_since: datetime
    idle_minutes: int


class SilentGpu(HeldGpu):
    """Held, and without telemetry through the window: not known to idle."""

    last_sample_at: datetime | None


class BilledPeriod(TypedDict):
    """[start, end), which invoices cover."""

    start: datetime
    end: datetime


class BillingGap(TypedDict):
    """A tenant's rated usage within the periods of its invoices, against what these bill; void ones apart.

    `flagged`: the gap is wider than 5 % of what was metered.
    """

    tenant_id: int
    tenant_name: str
    periods: list[BilledPeriod]
    invoice_count: int
    metered: Money
    metered_cents: int
    billed: Money
    billed_cents: int
    gap: Money
    gap_cents: int
    gap_percentage: float
    flagged: bool


class VoidInvoices(TypedDict):
    """A tenant's void invoices; they bill nothing, and their usage is free for another invoice."""

    tenant_id: int
    tenant_name: str
    invoice_count: int
    amount: Money
    amount_cents: int


class UnderusedTenant(TypedDict):
    """A tenant whose allocated GPUs averaged under 30 % in 24 h."""

    tenant_id: int
    tenant_name: str
    gpu_hours: float
    mean_utilization_pct: float


class UnratedUsage(TypedDict):
    """A GPU family that is used and has no rate: nobody pays for it."""

    gpu_type: str
    gpu_seconds: int
    gpu_hours: float


class ExpiredUsage(TypedDict):
    """A tenant's usage on no invoice, older than `days` of one reaches: bill it with `from` and `to`."""

    tenant_id: int
    tenant_name: str
    gpu_seconds: int
    gpu_hours: float
    amount: Money
    amount_cents: int
    last_used_at: datetime


class LeakageTotals(TypedDict):
    """Sums over everything, listed or not. `lost_per_hour`: what the idle GPUs cost now."""

    idle_gpus: int
    no_telemetry_gpus: int
    lost_per_hour: Money
    flagged_tenants: int
    unbilled: Money
    unbilled_cents: int
    underutilized_tenants: int
    unrated_gpu_seconds: int
    expired: Money
    expired_cents: int


class Leakage(TypedDict):
    """GET /api/dashboard/leakage. At most 1,000 GPUs are listed of each kind, the dearest first."""

    currency: str
    window_start: datetime
    window_end: datetime
    totals: LeakageTotals
    idle_gpus: list[IdleGpu]
    no_telemetry: list[SilentGpu]
    billing_gaps: list[BillingGap]
    void_invoices: list[VoidInvoices]
    underutilized_tenants: list[UnderusedTenant]
    unrated: list[UnratedUsage]
    expired_usage: list[ExpiredUsage]
