"""Invoices as they stand: immutable once issued, paid, overdue or void."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from gpuforge_controlplane.domain.invoicing import InvoiceStatus, Move, move, number_of
from gpuforge_controlplane.domain.pricing import CURRENCY, dollars, price_of
from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, decode_cursor, page_of
from gpuforge_controlplane.services.usage import hours
from gpuforge_controlplane.storage import audit, invoices, ledger, payments, tenants
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.invoices import StatusSum, StoredInvoice
from gpuforge_shared.errors import Conflict, not_found
from gpuforge_shared.wire.base import MAX_ID
from gpuforge_shared.wire.billing import (
    BillingSummary,
    BillingTotals,
    InvoiceDetail,
    InvoiceIssued,
    InvoiceLine,
    InvoiceRecord,
    InvoicesQuery,
    InvoiceStatusUpdate,
    InvoiceVoid,
    TenantBilling,
    UnratedTime,
)

RECENT = 20
_COUNTED = (InvoiceStatus.PAID, InvoiceStatus.PENDING, InvoiceStatus.OVERDUE)
LINK_UNDERWAY = "the payment link is being made; ask again in a moment"


async def get_invoice(ctx: Context, invoice_id: int) -> InvoiceDetail:
    """An invoice with its lines: JSON, or by `Accept` CSV or a page to print."""
    stored = visible(ctx, await invoices.by_id(ctx.tx, invoice_id), invoice_id)
    return InvoiceDetail(**invoice_record(stored), lines=await _stored_lines(ctx.tx, invoice_id))


async def list_invoices(ctx: Context, query: InvoicesQuery) -> Page[list[InvoiceRecord]]:
    """Invoices, newest first; a tenant's key sees its own alone."""
    limit, own = query.limit or LIST_CAP, ctx.principal.tenant_id
    if own is not None and query.tenant_id not in (None, own):
        return Page([], None)
    found = await invoices.page(
        ctx.tx,
        query,
        tenant_id=query.tenant_id if own is None else own,
        before_id=decode_cursor(query.cursor, start=MAX_ID),
        limit=limit + 1,
    )
    return page_of([invoice_record(each) for each in found], limit, [each["id"] for each in found])


async def set_status(ctx: Context, invoice_id: int, body: InvoiceStatusUpdate) -> InvoiceRecord:
    """Mark an invoice as paid, pending or overdue. Paid closes its payment link."""
    return await _move(ctx, invoice_id, InvoiceStatus(body.status), {})


async def void_invoice(ctx: Context, invoice_id: int, body: InvoiceVoid) -> InvoiceRecord:
    """Void an invoice: its usage is free for a new one, its number is not used again."""
    known = visible(ctx, await invoices.by_id(ctx.tx, invoice_id), invoice_id)
    # nobody draws up another one from rows that are being freed
    await tenants.hold_payer(ctx.tx, known["tenant_id"])
    values = {"voided_at": ctx.now, "void_reason": body.reason}
    record = await _move(ctx, invoice_id, InvoiceStatus.VOID, values)
    await ledger.release(ctx.tx, invoice_id)
    return record


async def summary(ctx: Context) -> BillingSummary:
    """What was invoiced, paid, is pending and overdue, in total and per tenant, and the last 20 invoices."""
    own = ctx.principal.tenant_id
    sums = await invoices.sums(ctx.tx, tenant_id=own)
    by_tenant: dict[int, list[StatusSum]] = defaultdict(list)
    for each in sums:
        by_tenant[each["tenant_id"]].append(each)
    recent = await invoices.page(ctx.tx, InvoicesQuery(), tenant_id=own, before_id=MAX_ID, limit=RECENT)
    return BillingSummary(
        currency=CURRENCY,
        **_totals(sums),
        tenants=[
            TenantBilling(tenant_id=tenant_id, tenant_name=theirs[-1]["tenant_name"], **_totals(theirs))
            for tenant_id, theirs in by_tenant.items()
        ],
        recent_invoices=[invoice_record(each) for each in recent],
    )


async def turn_overdue(tx: Connection, now: datetime) -> list[str]:
    """Pending invoices that have missed their date become overdue, each with an audit row; their numbers."""
    late = await invoices.turn_overdue(tx, now)
    for stored in late:
        await audit.append(
            tx,
            {
                "at": now,
                "principal": "meter",
                "action": "invoice.update",
                "object_type": "invoice",
                "object_id": stored["id"],
                "before": {"status": "pending"},
                "after": stored,
                "request_id": "meter",
            },
        )
    return [number_of(stored["sequence"]) for stored in late]


async def close_unpaid(ctx: Context, tenant_id: int) -> None:
    """A tenant goes: nobody may pay by its links any more. Its invoices stand."""
    for stored in await invoices.unpaid(ctx.tx, tenant_id):
        await close_link(ctx.tx, stored, ctx.now, "the tenant was deleted")


async def close_link(tx: Connection, stored: StoredInvoice, now: datetime, reason: str) -> None:
    """See that the invoice can't be paid by its link any more."""
    await payments.drop_link(tx, stored["id"], now)
    if stored["link_id"] is not None:
        await payments.enqueue(tx, stored["id"], "deactivate", now, link_id=stored["link_id"])
    await invoices.change(
        tx, stored["id"], {"link_id": None, "link_url": None, "link_reason": f"closed: {reason}"}
    )


async def issued(tx: Connection, stored: StoredInvoice, unrated: Sequence[UnratedTime] = ()) -> InvoiceIssued:
    """The answer about an invoice that was asked for."""
    record = invoice_record(stored)
    return InvoiceIssued(
        invoice=record,
        total_gpu_hours=record["total_gpu_hours"],
        total_amount=record["total_amount"],
        total_amount_cents=record["total_amount_cents"],
        payment_url=record["stripe_payment_url"],
        payment_url_reason=record["payment_url_reason"],
        lines=await _stored_lines(tx, stored["id"]),
        unrated=list(unrated),
    )


def invoice_record(stored: StoredInvoice) -> InvoiceRecord:
    """An invoice as clients see it."""
    return InvoiceRecord(
        id=stored["id"],
        number=number_of(stored["sequence"]),
        tenant_id=stored["tenant_id"],
        tenant_name=stored["tenant_name"],
        tenant_email=stored["tenant_email"],
        status=stored["status"],
        period_start=stored["period_start"],
        period_end=stored["period_end"],
        total_gpu_seconds=stored["gpu_seconds"],
        total_gpu_hours=hours(stored["gpu_seconds"]),
        total_amount=dollars(stored["total_cents"]),
        total_amount_cents=stored["total_cents"],
        currency=stored["currency"],
        issued_at=stored["issued_at"],
        due_at=stored["due_at"],
        paid_at=stored["paid_at"],
        paid_by=stored["paid_by"],
        voided_at=stored["voided_at"],
        void_reason=stored["void_reason"],
        stripe_payment_url=stored["link_url"],
        payment_url_reason=stored["link_reason"],
    )


def visible(ctx: Context, stored: StoredInvoice | None, invoice_id: int) -> StoredInvoice:
    """The invoice, if there is one and the caller may know of it. Raises NotFound."""
    if stored is None or ctx.principal.tenant_id not in (None, stored["tenant_id"]):
        raise not_found("invoice", invoice_id)
    return stored


async def _move(
    ctx: Context, invoice_id: int, after: InvoiceStatus, values: Mapping[str, object]
) -> InvoiceRecord:
    before = visible(ctx, await invoices.lock(ctx.tx, invoice_id), invoice_id)
    legal = move(InvoiceStatus(before["status"]), after)
    if legal is None:
        raise Conflict(
            f"invoice {invoice_id} is {before['status']}, from where it can't become {after}",
            code="illegal_transition",
        )
    if before["status"] == after:
        return invoice_record(before)
    paid = after is InvoiceStatus.PAID
    times = {"paid_at": ctx.now if paid else None, "paid_by": "manual" if paid else None}
    stored = await invoices.change(ctx.tx, invoice_id, {"status": str(after), **times, **values})
    await _see_to_link(ctx, before, legal)
    stored = await invoices.by_id(ctx.tx, invoice_id) or stored
    await ctx.audit("invoice.update", "invoice", invoice_id, before=before, after=stored)
    return invoice_record(stored)


async def _see_to_link(ctx: Context, before: StoredInvoice, legal: Move) -> None:
    if legal.closes_link:
        await close_link(ctx.tx, before, ctx.now, f"the invoice is {legal.after}")
    elif legal.needs_link:
        await invoices.change(ctx.tx, before["id"], {"link_reason": LINK_UNDERWAY})
        await payments.enqueue(ctx.tx, before["id"], "link", ctx.now)


async def _stored_lines(tx: Connection, invoice_id: int) -> list[InvoiceLine]:
    return [
        InvoiceLine(
            gpu_type=line["family"],
            rate_per_hour=price_of(line["price_micros"]),
            gpu_seconds=line["gpu_seconds"],
            gpu_hours=hours(line["gpu_seconds"]),
            amount=dollars(line["amount_cents"]),
            amount_cents=line["amount_cents"],
        )
        for line in await invoices.lines(tx, invoice_id)
    ]


def _totals(sums: Sequence[StatusSum]) -> BillingTotals:
    paid, pending, overdue = (
        sum(int(each["cents"]) for each in sums if each["status"] == status) for status in _COUNTED
    )
    return BillingTotals(
        invoice_count=sum(each["count"] for each in sums if each["status"] != "void"),
        total_invoiced=dollars(paid + pending + overdue),
        total_invoiced_cents=paid + pending + overdue,
        total_paid=dollars(paid),
        total_paid_cents=paid,
        total_pending=dollars(pending),
        total_pending_cents=pending,
        total_overdue=dollars(overdue),
        total_overdue_cents=overdue,
    )
