"""What an invoice would bill, and drawing it up: the ledger's rows of a period that are on none yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.invoicing import DUE_AFTER
from gpuforge_controlplane.domain.metering import from_second, whole_second
from gpuforge_controlplane.domain.pricing import CURRENCY, Line, dollars, lines_of, price_of, total_cents
from gpuforge_controlplane.services.context import Context, Upserted
from gpuforge_controlplane.services.invoices import LINK_UNDERWAY, issued
from gpuforge_controlplane.services.metering import meter_ended, meter_running, pending_segments
from gpuforge_controlplane.services.usage import hours
from gpuforge_controlplane.storage import invoices, ledger, payments, rates, tenants
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.invoices import StoredInvoice
from gpuforge_controlplane.storage.tenants import Owing
from gpuforge_shared.errors import Invalid, invalid, not_found
from gpuforge_shared.wire.billing import (
    InvoiceIssued,
    InvoiceLine,
    InvoicePreview,
    InvoiceQuery,
    UnratedTime,
)


async def preview(ctx: Context, tenant_id: int, query: InvoiceQuery) -> InvoicePreview:
    """What an invoice would bill now; nothing is stored."""
    if ctx.principal.tenant_id not in (None, tenant_id):
        raise not_found("tenant", tenant_id)
    since, until = _period(ctx.now, query)
    pending = await invoices.pending(ctx.tx, tenant_id, since, until)
    tenant = await _owing(ctx.tx, tenant_id, pending)
    book = await rates.book(ctx.tx)
    seconds = defaultdict(int, await ledger.unbilled(ctx.tx, tenant_id, since, until))
    for open_ in await ledger.accruing(ctx.tx, tenant_id=tenant_id):
        for piece in pending_segments(open_, until, book):
            if from_second(piece.end_s) > since:
                seconds[open_["family"], piece.rate_id] += piece.seconds * open_["gpu_count"]
    lines = lines_of(seconds, book)
    return InvoicePreview(
        tenant_id=tenant_id,
        tenant_name=tenant["name"],
        period_start=since,
        period_end=until,
        total_gpu_hours=hours(sum(line.gpu_seconds for line in _rated(lines))),
        total_amount=dollars(total_cents(lines)),
        total_amount_cents=total_cents(lines),
        currency=CURRENCY,
        lines=_lines(lines),
        unrated=_unrated(lines),
        pending_invoice_id=None if pending is None else pending["id"],
    )


async def create_invoice(ctx: Context, tenant_id: int, query: InvoiceQuery) -> Upserted[InvoiceIssued]:
    """Invoice what a tenant used and was not invoiced for; a pending invoice for the period is answered
    as it is.

    The rows are claimed first, and the lines are what was claimed: jobs may end meanwhile.
    """
    since, until = _period(ctx.now, query)
    await tenants.hold_payer(ctx.tx, tenant_id)
    pending = await invoices.pending(ctx.tx, tenant_id, since, until)
    tenant = await _owing(ctx.tx, tenant_id, pending)
    if pending is not None:
        return Upserted(await issued(ctx.tx, pending), created=False)
    await _meter_up(ctx, tenant_id, until)
    book = await rates.book(ctx.tx)
    unbilled = lines_of(await ledger.unbilled(ctx.tx, tenant_id, since, until), book)
    if not total_cents(unbilled):
        raise Invalid(_nothing(tenant, since, until, unbilled), code="nothing_to_bill")
    made = await invoices.create(ctx.tx, _values(tenant, since, until, ctx.now))
    await ledger.claim(ctx.tx, made["id"], tenant_id, since, until)
    stored = await invoices.add_lines(
        ctx.tx, made["id"], lines_of(await ledger.claimed(ctx.tx, made["id"]), book)
    )
    await payments.enqueue(ctx.tx, stored["id"], "link", ctx.now)
    await ctx.audit("invoice.create", "invoice", stored["id"], after=stored)
    return Upserted(await issued(ctx.tx, stored, unrated=_unrated(unbilled)), created=True)


async def _owing(tx: Connection, tenant_id: int, pending: StoredInvoice | None) -> Owing:
    """Who is to pay; a deleted tenant, too, as long as it has usage to pay for, of whatever time. Raises
    NotFound."""
    if (found := await tenants.by_id(tx, tenant_id)) is not None:
        return Owing(id=tenant_id, name=found["name"], contact_email=found["contact_email"])
    former = await tenants.former(tx, tenant_id)
    if former is None or (pending is None and not await ledger.is_owed(tx, tenant_id)):
        raise not_found("tenant", tenant_id)
    return former


async def _meter_up(ctx: Context, tenant_id: int, until: datetime) -> None:
    """Bring the tenant's part of the ledger up to date, so that an invoice holds what runs until now."""
    while await meter_ended(ctx.tx, ctx.now, tenant_id=tenant_id):
        pass
    after: int | None = 0
    while after is not None:
        after = await meter_running(ctx.tx, ctx.now, to=until, after=after, tenant_id=tenant_id)


def _period(now: datetime, query: InvoiceQuery) -> tuple[datetime, datetime]:
    """[since, until) in whole seconds. Raises Invalid for a period that is none, or is not over."""
    present = from_second(whole_second(now))
    until = present if query.until is None else from_second(whole_second(query.until))
    if until > present:
        raise invalid("query.to", "must not be ahead: what is not used yet can't be billed")
    if whole_second(until) <= 0:  # the calendar itself begins with year 1, and has nothing before it
        raise invalid("query.to", "must lie after 1970 began")
    if query.since is None:
        return until - timedelta(days=query.days), until
    if "days" in query.model_fields_set:
        raise invalid("query.days", "goes without `from`: give one of the two")
    since = from_second(whole_second(query.since))
    if since >= until:
        raise invalid("query.from", "must be before `to`, which is now unless it is given")
    return since, until


def _values(tenant: Owing, since: datetime, until: datetime, now: datetime) -> dict[str, object]:
    return {
        "tenant_id": tenant["id"],
        "tenant_name": tenant["name"],
        "tenant_email": tenant["contact_email"],
        "period_start": since,
        "period_end": until,
        "status": "pending",
        "currency": CURRENCY,
        "issued_at": now,
        "due_at": now + DUE_AFTER,
        "link_reason": LINK_UNDERWAY,
    }


def _nothing(tenant: Owing, since: datetime, until: datetime, lines: Sequence[Line]) -> str:
    words = f"nothing to bill: tenant {tenant['id']} has no usage that ended between "
    words += f"{since:%Y-%m-%dT%H:%M:%SZ} and {until:%Y-%m-%dT%H:%M:%SZ}, costs a cent and is on no invoice"
    unrated = sorted({line.family for line in lines if line.rate_id is None})
    if unrated:
        words += f"; {', '.join(unrated)} was used and has no rate: PUT /api/rates/{unrated[0]} sets one"
    return words


def _rated(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.rate_id is not None]


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
