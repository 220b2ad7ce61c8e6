"""Invoices: drawn up from the ledger, immutable once issued, paid, overdue or void."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.invoicing import DUE_AFTER, InvoiceStatus, Move, move, number_of
from gpuforge_controlplane.domain.metering import from_second, whole_second
from gpuforge_controlplane.domain.pricing import CURRENCY, Line, dollars, lines_of, price_of, total_cents
from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, Upserted, decode_cursor, page_of
from gpuforge_controlplane.services.metering import meter_ended, meter_running, pending_segments
from gpuforge_controlplane.services.usage import hours
from gpuforge_controlplane.storage import audit, invoices, ledger, payments, rates, tenants
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.invoices import StatusSum, StoredInvoice
from gpuforge_controlplane.storage.tenants import Owing
from gpuforge_shared.errors import Conflict, Invalid, Unavailable, not_found
from gpuforge_shared.wire.base import MAX_ID
from gpuforge_shared.wire.billing import (
    BillingSummary,
    BillingTotals,
    DaysQuery,
    InvoiceDetail,
    InvoiceIssued,
    InvoiceLine,
    InvoicePreview,
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


async def preview(ctx: Context, tenant_id: int, query: DaysQuery) -> InvoicePreview:
    """What an invoice would bill now; nothing is stored."""
    tenant = await tenants.by_id(ctx.tx, tenant_id)
    if tenant is None or ctx.principal.tenant_id not in (None, tenant_id):
        raise not_found("tenant", tenant_id)
    since, until = _period(ctx.now, query.days)
    book = await rates.book(ctx.tx)
    seconds = defaultdict(int, await ledger.unbilled(ctx.tx, tenant_id, since, until))
    for open_ in await ledger.accruing(ctx.tx, tenant_id=tenant_id):
        for piece in pending_segments(open_, until, book):
            if from_second(piece.end_s) > since:
                seconds[open_["family"], piece.rate_id] += piece.seconds * open_["gpu_count"]
    lines = lines_of(seconds, book)
    pending = await invoices.pending(ctx.tx, tenant_id, since, until)
    return InvoicePreview(
        tenant_id=tenant_id,
        tenant_name=tenant["name"],
        period_start=since,
        period_end=until,
        total_gpu_hours=hours(sum(line.gpu_seconds for line in lines if line.rate_id is not None)),
        total_amount=dollars(total_cents(lines)),
        total_amount_cents=total_cents(lines),
        currency=CURRENCY,
        lines=_lines(lines),
        unrated=_unrated(lines),
        pending_invoice_id=None if pending is None else pending["id"],
    )


async def create_invoice(ctx: Context, tenant_id: int, query: DaysQuery) -> Upserted[InvoiceIssued]:
    """Invoice what a tenant used and was not invoiced for; a pending invoice for the period is answered
    as it is."""
    since, until = _period(ctx.now, query.days)
    tenant = await _owing(ctx.tx, tenant_id, since, until)
    pending = await invoices.pending(ctx.tx, tenant_id, since, until)
    if pending is not None:
        return Upserted(await issued(ctx.tx, pending), created=False)
    await _meter_up(ctx, tenant_id, until)
    book = await rates.book(ctx.tx)
    lines = lines_of(await ledger.unbilled(ctx.tx, tenant_id, since, until), book)
    rated = [line for line in lines if line.rate_id is not None]
    if not total_cents(rated):
        raise Invalid(_nothing(tenant, query.days, lines), code="nothing_to_bill")
    values = _values(tenant, since, until, rated, ctx.now)
    stored = await invoices.create(ctx.tx, values, rated)
    claimed = await ledger.claim(ctx.tx, stored["id"], tenant_id, since, until)
    if claimed != stored["gpu_seconds"]:
        raise Unavailable("the ledger changed while the invoice was drawn up; try again", retry_after=1.0)
    await payments.enqueue(ctx.tx, stored["id"], "link", ctx.now)
    await ctx.audit("invoice.create", "invoice", stored["id"], after=stored)
    return Upserted(await issued(ctx.tx, stored, unrated=_unrated(lines)), created=True)


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
    await tenants.lock(ctx.tx, [known["tenant_id"]])
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


async def _owing(tx: Connection, tenant_id: int, since: datetime, until: datetime) -> Owing:
    """Who is to pay; a deleted tenant, too, as long as it has usage to pay for. Raises NotFound."""
    held = (await tenants.lock(tx, [tenant_id])).get(tenant_id)
    if held is not None:
        return Owing(id=tenant_id, name=held["name"], contact_email=held["contact_email"])
    former = await tenants.former(tx, tenant_id)
    if former is None or not await ledger.unbilled(tx, tenant_id, since, until):
        raise not_found("tenant", tenant_id)
    return former


async def _meter_up(ctx: Context, tenant_id: int, until: datetime) -> None:
    """Bring the tenant's part of the ledger up to date, so that an invoice holds what runs until now."""
    while await meter_ended(ctx.tx, ctx.now, tenant_id=tenant_id):
        pass
    after: int | None = 0
    while after is not None:
        after = await meter_running(ctx.tx, ctx.now, to=until, after=after, tenant_id=tenant_id)


def _period(now: datetime, days: int) -> tuple[datetime, datetime]:
    until = from_second(whole_second(now))
    return until - timedelta(days=days), until


def _values(
    tenant: Owing, since: datetime, until: datetime, lines: Sequence[Line], now: datetime
) -> dict[str, object]:
    return {
        "tenant_id": tenant["id"],
        "tenant_name": tenant["name"],
        "tenant_email": tenant["contact_email"],
        "period_start": since,
        "period_end": until,
        "status": "pending",
        "currency": CURRENCY,
        "total_cents": total_cents(lines),
        "gpu_seconds": sum(line.gpu_seconds for line in lines),
        "issued_at": now,
        "due_at": now + DUE_AFTER,
        "link_reason": LINK_UNDERWAY,
    }


def _nothing(tenant: Owing, days: int, lines: Sequence[Line]) -> str:
    words = f"nothing to bill: tenant {tenant['id']} has no usage of the last {days} days that costs a cent "
    words += "and is on no invoice"
    unrated = sorted({line.family for line in lines if line.rate_id is None})
    if unrated:
        words += f"; {', '.join(unrated)} was used and has no rate: PUT /api/rates/{unrated[0]} sets one"
    return words


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


def _lines(lines: Sequence[Line]) -> list[InvoiceLine]:
    return [
        InvoiceLine(
            gpu_type=line.family,
            rate_per_hour=price_of(line.price_micros),
            gpu_seconds=line.gpu_seconds,
            gpu_hours=hours(line.gpu_seconds),
            amount=dollars(line.amount_cents),
            amount_cents=line.amount_cents,
        )
        for line in lines
        if line.price_micros is not None and line.amount_cents is not None
    ]


def _unrated(lines: Sequence[Line]) -> list[UnratedTime]:
    return [
        UnratedTime(gpu_type=line.family, gpu_seconds=line.gpu_seconds, gpu_hours=hours(line.gpu_seconds))
        for line in lines
        if line.rate_id is None
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
