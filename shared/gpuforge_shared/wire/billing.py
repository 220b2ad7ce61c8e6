"""Billing on the wire: money is a number with two decimals beside whole cents, prices are per GPU-hour."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from gpuforge_shared.wire.base import HumanBody, Id, Instant, Name, PageQuery, Query

InvoiceStatus = Literal["pending", "overdue", "paid", "void"]
SettableStatus = Literal["paid", "pending", "overdue"]
PaidBy = Literal["manual", "stripe"]

# In answers: JSON numbers, made from Decimal.
Money = Annotated[Decimal, WithJsonSchema({"type": "number"})]
_Days = Annotated[int, Field(ge=1, le=90, description="Lookback window in days, 1-90.")]
_Price = Annotated[Decimal, Field(ge=0, le=10_000, decimal_places=6, allow_inf_nan=False)]
_Budget = Annotated[Decimal, Field(gt=0, le=1_000_000_000, decimal_places=2, allow_inf_nan=False)]


class DaysQuery(Query):
    """A window that ends now."""

    days: _Days = 30


class InvoiceQuery(DaysQuery):
    """POST /api/tenants/{id}/invoice and its preview: the last `days`, or a period of any age."""

    since: Instant | None = Field(
        default=None,
        alias="from",
        description="Rows of the ledger that ended after this time, however long ago, each whole: they are "
        "cut at UTC midnight and where a rate changes; without `days`.",
    )
    until: Instant | None = Field(
        default=None,
        alias="to",
        description="Rows that ended by this time, which has passed; absent, by now. What runs is cut here.",
    )


class UsageQuery(PageQuery):
    """GET /api/tenants/{id}/usage."""

    days: _Days = 30


class RatesQuery(Query):
    """GET /api/rates."""

    tenant_id: Id | None = Field(default=None, description="With this tenant's own rates in place.")
    history: bool = Field(default=False, description="Every version, oldest first, not only those in force.")


class RateSet(HumanBody):
    """PUT /api/rates/{family}: a version from now on."""

    rate_per_hour: _Price | None = Field(
        description="Dollars per GPU-hour; null ends a tenant's own rate, and the list price holds again."
    )
    tenant_id: Id | None = Field(default=None, description="For this tenant alone; absent, the list price.")


class InvoicesQuery(PageQuery):
    """GET /api/invoices."""

    tenant_id: Id | None = Field(default=None, description="Of this tenant.")
    status: InvoiceStatus | None = Field(default=None, description="In this status.")


class InvoiceStatusUpdate(HumanBody):
    """PATCH /api/invoices/{id}/status."""

    status: SettableStatus = Field(description="paid, pending or overdue.")


class InvoiceVoid(HumanBody):
    """POST /api/invoices/{id}/void."""

    reason: Name = Field(description="Why, for the record.")


class BudgetSet(HumanBody):
    """PUT /api/tenants/{id}/budget."""

    monthly_amount: _Budget | None = Field(description="Dollars a calendar month, UTC; null takes it away.")


class ExportQuery(Query):
    """GET /api/usage/export.csv."""

    since: Instant | None = Field(default=None, alias="from", description="From this time on.")
    until: Instant | None = Field(default=None, alias="to", description="Up to this time, it excluded.")
    tenant_id: Id | None = Field(default=None, description="Of this tenant.")


class RateRecord(TypedDict):
    """A rate. `rate_per_hour` null: unrated, metered but not billed. `tenant_id` null: the list price."""

    family: str
    rate_per_hour: Money | None
    currency: str
    tenant_id: int | None
    effective_from: datetime | None
    unrated: bool


class TypeCost(TypedDict):
    """What a GPU family took and costs. Unrated time is counted and costs nothing."""

    gpu_type: str
    gpu_seconds: int
    gpu_hours: float
    cost: Money
    cost_cents: int
    unrated_gpu_seconds: int


class DayCost(TypedDict):
    """What a UTC day took and costs; each day is rounded by itself."""

    date: date
    gpu_seconds: int
    gpu_hours: float
    cost: Money
    cost_cents: int


class UsageEvent(TypedDict):
    """A row of the ledger: a GPU's whole seconds of [started_at, ended_at)."""

    id: int
    job_id: int
    gpu_id: int
    gpu_type: str
    rate_per_hour: Money | None
    started_at: datetime
    ended_at: datetime
    gpu_seconds: int
    gpu_hours: float
    cost: Money | None
    cost_cents: int | None
    invoice_id: int | None


class BudgetRecord(TypedDict):
    """A tenant's budget for a calendar month (UTC), what is spent, and where that leads.

    `forecast`: spent so far, and for the rest of the month the mean of the last seven days.
    """

    month: str
    budget: Money | None
    budget_cents: int | None
    spent: Money
    spent_cents: int
    forecast: Money
    forecast_cents: int
    crossed_percent: list[int]


class TenantUsage(TypedDict):
    """Usage with its cost. Totals hold what runs right now, up to this second; `events` are what is in the
    ledger, newest first. `accruing_gpu_seconds`: the part of the totals that is not in the ledger yet."""

    tenant_id: int
    tenant_name: str
    days: int
    period_start: datetime
    period_end: datetime
    currency: str
    total_gpu_seconds: int
    total_gpu_hours: float
    total_cost: Money
    total_cost_cents: int
    accruing_gpu_seconds: int
    by_gpu_type: list[TypeCost]
    by_day: list[DayCost]
    budget: BudgetRecord
    events: list[UsageEvent]


class InvoiceLine(TypedDict):
    """GPU time of one family at one rate; its amount is rounded once, half a cent up."""

    gpu_type: str
    rate_per_hour: Money
    gpu_seconds: int
    gpu_hours: float
    amount: Money
    amount_cents: int


class UnratedTime(TypedDict):
    """GPU time that nobody has set a rate for: metered, and on no invoice."""

    gpu_type: str
    gpu_seconds: int
    gpu_hours: float


class InvoiceRecord(TypedDict):
    """An invoice, as it was issued; only its status and its payment link change."""

    id: int
    number: str
    tenant_id: int
    tenant_name: str
    tenant_email: str | None
    status: InvoiceStatus
    period_start: datetime
    period_end: datetime
    total_gpu_seconds: int
    total_gpu_hours: float
    total_amount: Money
    total_amount_cents: int
    currency: str
    issued_at: datetime
    due_at: datetime
    paid_at: datetime | None
    paid_by: PaidBy | None
    voided_at: datetime | None
    void_reason: str | None
    stripe_payment_url: str | None
    payment_url_reason: str | None


class InvoiceDetail(InvoiceRecord):
    """An invoice with its lines."""

    lines: list[InvoiceLine]


class InvoiceIssued(TypedDict):
    """POST /api/tenants/{id}/invoice. `payment_url` null: `payment_url_reason` says why."""

    invoice: InvoiceRecord
    total_gpu_hours: float
    total_amount: Money
    total_amount_cents: int
    payment_url: str | None
    payment_url_reason: str | None
    lines: list[InvoiceLine]
    unrated: list[UnratedTime]


class InvoicePreview(TypedDict):
    """What an invoice would bill now; nothing is stored. `pending_invoice_id`: would be answered instead."""

    tenant_id: int
    tenant_name: str
    period_start: datetime
    period_end: datetime
    total_gpu_hours: float
    total_amount: Money
    total_amount_cents: int
    currency: str
    lines: list[InvoiceLine]
    unrated: list[UnratedTime]
    pending_invoice_id: int | None


class BillingTotals(TypedDict):
    """Sums over invoices; void ones count for nothing."""

    invoice_count: int
    total_invoiced: Money
    total_invoiced_cents: int
    total_paid: Money
    total_paid_cents: int
    total_pending: Money
    total_pending_cents: int
    total_overdue: Money
    total_overdue_cents: int


class TenantBilling(BillingTotals):
    """What a tenant was invoiced for."""

    tenant_id: int
    tenant_name: str


class BillingSummary(BillingTotals):
    """Billing in one answer."""

    currency: str
    tenants: list[TenantBilling]
    recent_invoices: list[InvoiceRecord]


class TenantRevenue(TypedDict):
    """A tenant's part. `tenant_id` null: jobs of no tenant."""

    tenant_id: int | None
    tenant_name: str
    gpu_seconds: int
    gpu_hours: float
    revenue: Money
    revenue_cents: int


class TypeRevenue(TypedDict):
    """A GPU family's part. Unrated time is counted and earns nothing."""

    gpu_type: str
    gpu_seconds: int
    gpu_hours: float
    revenue: Money
    revenue_cents: int
    unrated_gpu_seconds: int


class DayRevenue(TypedDict):
    """A UTC day's part; each day is rounded by itself."""

    date: date
    gpu_seconds: int
    gpu_hours: float
    revenue: Money
    revenue_cents: int


class Revenue(TypedDict):
    """What was used in the last `days` UTC days, up to this second of today, whether invoiced or not."""

    days: int
    period_start: datetime
    period_end: datetime
    currency: str
    total_revenue: Money
    total_revenue_cents: int
    total_gpu_hours: float
    tenants: list[TenantRevenue]
    by_gpu_type: list[TypeRevenue]
    by_day: list[DayRevenue]


class WebhookReceived(TypedDict):
    """POST /api/stripe/webhook: what became of the event."""

    received: bool
    outcome: str
