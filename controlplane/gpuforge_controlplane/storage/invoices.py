"""Invoices, their lines, and what is to be told to Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from sqlalchemy import func, select, update

from gpuforge_controlplane.domain.invoicing import UNPAID
from gpuforge_controlplane.domain.pricing import Line, total_cents
from gpuforge_controlplane.storage.billing_schema import invoice_lines, invoices
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import Row, insert, record, records
from gpuforge_shared.wire.billing import InvoicesQuery, InvoiceStatus, PaidBy

_LOCK = 0x696E766F  # "invo"


class StoredInvoice(TypedDict):
    """A row of `invoices`."""

    id: int
    sequence: int
    tenant_id: int
    tenant_name: str
    tenant_email: str | None
    period_start: datetime
    period_end: datetime
    status: InvoiceStatus
    currency: str
    total_cents: int
    gpu_seconds: int
    issued_at: datetime
    due_at: datetime
    paid_at: datetime | None
    paid_by: PaidBy | None
    voided_at: datetime | None
    void_reason: str | None
    link_id: str | None
    link_url: str | None
    link_reason: str | None


class StoredLine(TypedDict):
    """A row of `invoice_lines`."""

    family: str
    rate_id: int
    price_micros: int
    gpu_seconds: int
    amount_cents: int


class StatusSum(TypedDict):
    """A tenant's invoices in one status."""

    tenant_id: int
    tenant_name: str
    status: InvoiceStatus
    count: int
    cents: int


async def create(tx: Connection, values: Row) -> StoredInvoice:
    """A new invoice, as yet without lines, under the next number; who numbers another waits."""
    if tx.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    highest = await tx.scalar(select(func.coalesce(func.max(invoices.c.sequence), 0)))
    blank = {"sequence": (highest or 0) + 1, "total_cents": 0, "gpu_seconds": 0}
    made = insert(tx, invoices).values(**values, **blank).returning(*invoices.c)
    return records(await tx.execute(made), StoredInvoice)[0]


async def add_lines(tx: Connection, invoice_id: int, lines: Sequence[Line]) -> StoredInvoice:
    """The invoice with these lines and their sums: the last that is done to it before it is issued."""
    rows = [
        {
            "invoice_id": invoice_id,
            "family": line.family,
            "rate_id": line.rate_id,
            "price_micros": line.price_micros,
            "gpu_seconds": line.gpu_seconds,
            "amount_cents": line.amount_cents,
        }
        for line in lines
    ]
    await tx.execute(insert(tx, invoice_lines), rows)
    sums = {"total_cents": total_cents(lines), "gpu_seconds": sum(line.gpu_seconds for line in lines)}
    return await change(tx, invoice_id, sums)


async def by_id(tx: Connection, invoice_id: int) -> StoredInvoice | None:
    return record(await tx.execute(select(invoices).where(invoices.c.id == invoice_id)), StoredInvoice)


async def lock(tx: Connection, invoice_id: int) -> StoredInvoice | None:
    """The invoice, held against others until the transaction ends."""
    query = select(invoices).where(invoices.c.id == invoice_id).with_for_update()
    return record(await tx.execute(query), StoredInvoice)


async def lines(tx: Connection, invoice_id: int) -> list[StoredLine]:
    """An invoice's lines in their order."""
    names = ("family", "rate_id", "price_micros", "gpu_seconds", "amount_cents")
    query = select(*(invoice_lines.c[name] for name in names)).where(invoice_lines.c.invoice_id == invoice_id)
    return records(await tx.execute(query.order_by(invoice_lines.c.id)), StoredLine)


async def pending(tx: Connection, tenant_id: int, since: datetime, until: datetime) -> StoredInvoice | None:
    """The tenant's newest pending invoice whose period overlaps [since, until)."""
    query = (
        select(invoices)
        .where(
            invoices.c.tenant_id == tenant_id,
            invoices.c.status == "pending",
            invoices.c.period_start < until,
            invoices.c.period_end > since,
        )
        .order_by(invoices.c.id.desc())
        .limit(1)
    )
    return record(await tx.execute(query), StoredInvoice)


async def unpaid(tx: Connection, tenant_id: int) -> list[StoredInvoice]:
    """The tenant's invoices that are to be paid, held until the transaction ends."""
    query = select(invoices).where(
        invoices.c.tenant_id == tenant_id, invoices.c.status.in_(sorted(map(str, UNPAID)))
    )
    return records(await tx.execute(query.order_by(invoices.c.id).with_for_update()), StoredInvoice)


async def page(
    tx: Connection, query: InvoicesQuery, *, tenant_id: int | None, before_id: int, limit: int
) -> list[StoredInvoice]:
    """Newest first, below `before_id`."""
    wanted = select(invoices).where(invoices.c.id < before_id).order_by(invoices.c.id.desc()).limit(limit)
    if tenant_id is not None:
        wanted = wanted.where(invoices.c.tenant_id == tenant_id)
    if query.status is not None:
        wanted = wanted.where(invoices.c.status == query.status)
    return records(await tx.execute(wanted), StoredInvoice)


async def change(tx: Connection, invoice_id: int, values: Row) -> StoredInvoice:
    """The row as it is now. The caller holds the invoice, so it is there."""
    changed = update(invoices).where(invoices.c.id == invoice_id).values(**values).returning(*invoices.c)
    return records(await tx.execute(changed), StoredInvoice)[0]


async def turn_overdue(tx: Connection, now: datetime) -> list[StoredInvoice]:
    """Pending invoices past their date become overdue; those that did."""
    late = update(invoices).where(invoices.c.status == "pending", invoices.c.due_at <= now)
    return records(await tx.execute(late.values(status="overdue").returning(*invoices.c)), StoredInvoice)


async def sums(tx: Connection, *, tenant_id: int | None) -> list[StatusSum]:
    """Counts and sums by tenant and status."""
    query = (
        select(
            invoices.c.tenant_id,
            func.max(invoices.c.tenant_name).label("tenant_name"),
            invoices.c.status,
            func.count().label("count"),
            func.sum(invoices.c.total_cents).label("cents"),
        )
        .group_by(invoices.c.tenant_id, invoices.c.status)
        .order_by(invoices.c.tenant_id)
    )
    if tenant_id is not None:
        query = query.where(invoices.c.tenant_id == tenant_id)
    return records(await tx.execute(query), StatusSum)
