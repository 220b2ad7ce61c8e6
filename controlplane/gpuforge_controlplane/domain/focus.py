"""Rows of the ledger in the columns of FOCUS 1.x, the FinOps Open Cost and Usage Specification.

Costs are exact to ten decimals and not rounded to cents, which is what invoices do once a line: the rows of a
line add up to its amount within half a cent. Columns that start with `x_` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Context, Decimal
from typing import NamedTuple

from gpuforge_controlplane.domain.invoicing import number_of
from gpuforge_controlplane.domain.metering import RateBook, whole_second
from gpuforge_controlplane.domain.pricing import CURRENCY, price_of
from gpuforge_controlplane.domain.spreadsheet import Cell, csv_row

COLUMNS = (
    "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodStart",
    "ChargePeriodEnd", "ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit", "ListUnitPrice",
    "ContractedUnitPrice", "ListCost", "ContractedCost", "EffectiveCost", "BilledCost", "InvoiceId",
    "ProviderName", "PublisherName", "InvoiceIssuerName", "ServiceName", "ServiceCategory", "SkuId",
    "ResourceId", "ResourceType", "RegionId", "SubAccountId", "SubAccountName", "x_UsageEventId", "x_JobId",
)  # fmt: skip
HEADER = csv_row(COLUMNS)
_US = "GPUForge"
_EXACT = Context(prec=40)
_TEN_PLACES = Decimal("1e-10")
_NOTHING = Decimal("0.0000000000")


class Used(NamedTuple):
    """A row of the ledger, with what it stands for. No tenant: a job that nobody is billed for."""

    id: int
    job_id: int
    gpu_id: int
    gpu_uuid: str | None
    tenant_id: int | None
    family: str
    rate_id: int | None
    started_at: datetime
    ended_at: datetime
    gpu_seconds: int
    invoice_sequence: int | None
    cluster_id: int
    cluster: str
    region: str | None


def focus_row(used: Used, book: RateBook, tenants: Mapping[int, str]) -> str:
    """One line of the export. `tenants`: names by id, of deleted ones too.

    A billing account is a tenant, a sub-account a cluster. A billing period is a calendar month: no row
    reaches over midnight. Unrated time has no price and costs nothing.
    """
    listed = book.at(used.family, None, whole_second(used.started_at))
    price, list_price = book.price_micros(used.rate_id), listed.price_micros if listed else None
    hours = _EXACT.divide(Decimal(used.gpu_seconds), Decimal(3600)).quantize(_TEN_PLACES)
    cost = _cost(used.gpu_seconds, price)
    list_cost = cost if price is None or list_price is None else _cost(used.gpu_seconds, list_price)
    month = used.started_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    cells: tuple[Cell, ...] = (
        used.tenant_id,
        _name(used.tenant_id, tenants),
        CURRENCY,
        month,
        month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1),
        "Usage",
        None,  # of a correction, and none of these rows is one
        f"{used.family} GPU time of job {used.job_id}",
        "Usage-Based",
        used.started_at,
        used.ended_at,
        used.gpu_seconds,
        "GPU-Seconds",
        hours,
        "GPU-Hours",
        None if list_price is None else price_of(list_price),
        None if price is None else price_of(price),
        list_cost,
        cost,
        cost,
        cost,
        None if used.invoice_sequence is None else number_of(used.invoice_sequence),
        _US,
        _US,
        _US,
        "GPU Compute",
        "Compute",
        used.family,
        used.gpu_uuid or str(used.gpu_id),
        "GPU",
        used.region,
        used.cluster_id,
        used.cluster,
        used.id,
        used.job_id,
    )
    return csv_row(cells)


def _cost(gpu_seconds: int, price_micros: int | None) -> Decimal:
    if price_micros is None:
        return _NOTHING
    exact = _EXACT.divide(Decimal(gpu_seconds) * price_micros, Decimal(3600 * 1_000_000))
    return exact.quantize(_TEN_PLACES, context=_EXACT)


def _name(tenant_id: int | None, tenants: Mapping[int, str]) -> str | None:
    return None if tenant_id is None else tenants.get(tenant_id, f"tenant {tenant_id}")
