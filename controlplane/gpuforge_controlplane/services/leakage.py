"""Revenue leakage: what is held and not used, used and not billed, and what no rate covers; with evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta

from gpuforge_controlplane.domain import leakage as rules
from gpuforge_controlplane.domain.kpis import Prices
from gpuforge_controlplane.domain.leakage import HeldGpu, Period
from gpuforge_controlplane.domain.metering import RateBook, whole_second
from gpuforge_controlplane.domain.pricing import CURRENCY, cents_of, dollars, price_of
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.metering import pending_segments
from gpuforge_controlplane.services.usage import hours, midnight
from gpuforge_controlplane.storage import kpis, leakage, ledger, rates, rollups, tenants, unused
from gpuforge_controlplane.storage.leakage import HeldRow, InvoiceSpan, UsageSum
from gpuforge_shared.wire import leakage as wire

LISTED = 1_000  # GPUs of each kind
MOST_SAMPLES = 500_000  # what one answer may read of them: some tenth of a second
SAMPLE_EVERY_S = 10
UNRATED_DAYS = 30
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


async def revenue_leakage(ctx: Context) -> wire.Leakage:
    """Idle allocated GPUs, metered against billed, underutilised tenants, unrated and expired usage.

    The window of the last half hour ends now, in a large fleet with the last five minutes that are rolled up.
    24 hours are hours of the clock, the present one included. A tenant's key sees its own part.
    """
    own = ctx.principal.tenant_id
    window, held = await _held(ctx)
    prices, book = await kpis.prices(ctx.tx, ctx.now), await rates.book(ctx.tx)
    idle = rules.idle(held, prices)
    silent = [gpu for gpu in held if gpu.mean_pct is None]
    gaps, void = await _billing(ctx, book)
    low = rules.underused(await leakage.tenant_use(ctx.tx, kpis.hour_of(ctx.now) + _HOUR - _DAY, own))
    unrated = await _unrated(ctx, book)
    lost = await _expired(ctx, book)
    names = await tenants.names(ctx.tx, [use.tenant_id for use, _ in low])
    unbilled = sum(max(0, gap["gap_cents"]) for gap in gaps)
    expired = sum(each["amount_cents"] for each in lost)
    return wire.Leakage(
        currency=CURRENCY,
        window_start=window.since,
        window_end=window.until,
        totals=wire.LeakageTotals(
            idle_gpus=len(idle),
            no_telemetry_gpus=len(silent),
            lost_per_hour=price_of(rules.lost_micros(idle, prices)),
            flagged_tenants=sum(gap["flagged"] for gap in gaps),
            unbilled=dollars(unbilled),
            unbilled_cents=unbilled,
            underutilized_tenants=len(low),
            unrated_gpu_seconds=sum(each["gpu_seconds"] for each in unrated),
            expired=dollars(expired),
            expired_cents=expired,
        ),
        idle_gpus=await _idle_gpus(ctx, idle[:LISTED], window, prices),
        no_telemetry=await _silent_gpus(ctx, silent[:LISTED], prices),
        billing_gaps=gaps,
        void_invoices=void,
        underutilized_tenants=[
            wire.UnderusedTenant(
                tenant_id=use.tenant_id,
                tenant_name=names.get(use.tenant_id, f"tenant {use.tenant_id}"),
                gpu_hours=hours(use.held_s),
                mean_utilization_pct=round(mean, 1),
            )
            for use, mean in low
        ],
        unrated=unrated,
        expired_usage=lost,
    )


async def _held(ctx: Context) -> tuple[Period, list[HeldGpu]]:
    """The window, and what jobs have held all through it: out of samples where these are few enough, else at
    least what of it was not used, as the leader noted it."""
    own, reach = ctx.principal.tenant_id, rules.IDLE_FOR.total_seconds() / SAMPLE_EVERY_S
    done = await rollups.progress(ctx.tx)
    if done is None or await leakage.fleet_size(ctx.tx) * reach <= MOST_SAMPLES:
        window = Period(ctx.now - rules.IDLE_FOR, ctx.now)
        return window, await leakage.held_by_samples(ctx.tx, window.since, window.until, own)
    noted = await unused.until(ctx.tx)
    if noted is not None:
        window = Period(noted - rules.IDLE_FOR, noted)
        return window, await unused.held(ctx.tx, window.since, own)
    window = Period(done - rules.IDLE_FOR, done)  # no leader has looked yet
    return window, await leakage.held_by_rollups(ctx.tx, window.since, window.until, own)


async def _idle_gpus(
    ctx: Context, idle: Sequence[HeldGpu], window: Period, prices: Prices
) -> list[wire.IdleGpu]:
    ids = [gpu.gpu_id for gpu in idle]
    rows = await leakage.held_rows(ctx.tx, ids)
    spells = await leakage.spells(ctx.tx, ids, window.until - _DAY, window.until)
    names = await _names(ctx, rows.values())
    found = []
    for gpu in idle:
        row = rows[gpu.gpu_id]
        since = rules.idle_since(spells.get(gpu.gpu_id), row["started_at"], window.since)
        found.append(
            wire.IdleGpu(
                **_held_gpu(row, prices, names),
                mean_utilization_pct=round(gpu.mean_pct or 0.0, 1),
                idle_since=since,
                idle_minutes=(window.until - since) // timedelta(minutes=1),
            )
        )
    return found


async def _silent_gpus(ctx: Context, silent: Sequence[HeldGpu], prices: Prices) -> list[wire.SilentGpu]:
    rows = await leakage.held_rows(ctx.tx, [gpu.gpu_id for gpu in silent])
    names = await _names(ctx, rows.values())
    return [
        wire.SilentGpu(
            **_held_gpu(rows[gpu.gpu_id], prices, names), last_sample_at=rows[gpu.gpu_id]["recorded_at"]
        )
        for gpu in silent
    ]


async def _names(ctx: Context, rows: Iterable[HeldRow]) -> dict[int, str]:
    owners = {row["tenant_id"] for row in rows}
    return await tenants.names(ctx.tx, sorted(owner for owner in owners if owner is not None))


def _held_gpu(row: HeldRow, prices: Prices, names: dict[int, str]) -> wire.HeldGpu:
    price = rules.price_of_gpu(prices, row["family"], row["tenant_id"])
    return wire.HeldGpu(
        gpu_id=row["gpu_id"],
        gpu_index=row["gpu_index"],
        gpu_type=row["family"],
        hostname=row["hostname"],
        cluster_id=row["cluster_id"],
        job_id=row["job_id"],
        job_name=row["job_name"],
        tenant_id=row["tenant_id"],
        tenant_name=None if row["tenant_id"] is None else names.get(row["tenant_id"]),
        allocated_since=row["started_at"],
        rate_per_hour=None if price is None else price_of(price),
    )


async def _billing(ctx: Context, book: RateBook) -> tuple[list[wire.BillingGap], list[wire.VoidInvoices]]:
    """Each tenant's metered against billed, and its void invoices.

    Metered is what its invoices claimed from the ledger and what they left there: a row that came late, or
    after an invoice was void.
    """
    own = ctx.principal.tenant_id
    spans: dict[int, list[InvoiceSpan]] = defaultdict(list)
    void: dict[int, list[InvoiceSpan]] = defaultdict(list)
    for span in await leakage.invoice_spans(ctx.tx, own):
        (void if span.status == "void" else spans)[span.tenant_id].append(span)
    periods = {
        tenant_id: rules.merged(Period(span.since, span.until) for span in theirs)
        for tenant_id, theirs in spans.items()
    }
    metered: dict[int, int] = defaultdict(int)
    for tenant_id, gpu_seconds, price in await leakage.invoiced_lines(ctx.tx, own):
        metered[tenant_id] += cents_of(gpu_seconds, price)
    pairs = [(tenant_id, period) for tenant_id, theirs in periods.items() for period in theirs]
    for left in await leakage.unbilled_within(ctx.tx, pairs):
        metered[left.tenant_id] += _cents(left, book)
    gaps = [_gap(theirs, periods[tenant_id], metered[tenant_id]) for tenant_id, theirs in spans.items()]
    return sorted(gaps, key=lambda gap: (-abs(gap["gap_cents"]), gap["tenant_id"])), [
        _void(theirs) for theirs in void.values()
    ]


def _gap(spans: Sequence[InvoiceSpan], periods: Sequence[Period], metered: int) -> wire.BillingGap:
    billed = sum(span.total_cents for span in spans)
    return wire.BillingGap(
        tenant_id=spans[-1].tenant_id,
        tenant_name=spans[-1].tenant_name,
        periods=[wire.BilledPeriod(start=period.since, end=period.until) for period in periods],
        invoice_count=len(spans),
        metered=dollars(metered),
        metered_cents=metered,
        billed=dollars(billed),
        billed_cents=billed,
        gap=dollars(metered - billed),
        gap_cents=metered - billed,
        gap_percentage=round(rules.gap_pct(metered, billed), 2),
        flagged=rules.is_flagged(metered, billed),
    )


def _void(spans: Sequence[InvoiceSpan]) -> wire.VoidInvoices:
    cents = sum(span.total_cents for span in spans)
    return wire.VoidInvoices(
        tenant_id=spans[-1].tenant_id,
        tenant_name=spans[-1].tenant_name,
        invoice_count=len(spans),
        amount=dollars(cents),
        amount_cents=cents,
    )


async def _unrated(ctx: Context, book: RateBook) -> list[wire.UnratedUsage]:
    """Of the last 30 UTC days and of what runs now."""
    own, second = ctx.principal.tenant_id, whole_second(ctx.now)
    since = midnight(ctx.now) - (UNRATED_DAYS - 1) * _DAY
    found = defaultdict(int, await leakage.unrated_seconds(ctx.tx, since, own))
    held = await leakage.held_families(ctx.tx)
    if any(book.at(family, None, second) is None for family in held):
        for open_ in await ledger.accruing(ctx.tx, tenant_id=own):
            for piece in pending_segments(open_, ctx.now, book):
                if piece.rate_id is None:
                    found[open_["family"]] += piece.seconds * open_["gpu_count"]
    return [
        wire.UnratedUsage(gpu_type=family, gpu_seconds=seconds, gpu_hours=hours(seconds))
        for family, seconds in sorted(found.items())
        if seconds
    ]


async def _expired(ctx: Context, book: RateBook) -> list[wire.ExpiredUsage]:
    by_tenant: dict[int, list[UsageSum]] = defaultdict(list)
    for each in await leakage.expired(ctx.tx, ctx.now - rules.INVOICED_WITHIN, ctx.principal.tenant_id):
        by_tenant[each.tenant_id].append(each)
    names = await tenants.names(ctx.tx, sorted(by_tenant))
    found = []
    for tenant_id, sums in by_tenant.items():
        seconds, cents = sum(each.gpu_seconds for each in sums), sum(_cents(each, book) for each in sums)
        found.append(
            wire.ExpiredUsage(
                tenant_id=tenant_id,
                tenant_name=names.get(tenant_id, f"tenant {tenant_id}"),
                gpu_seconds=seconds,
                gpu_hours=hours(seconds),
                amount=dollars(cents),
                amount_cents=cents,
                last_used_at=max(each.last for each in sums),
            )
        )
    return sorted(found, key=lambda each: (-each["amount_cents"], each["tenant_id"]))


def _cents(used: UsageSum, book: RateBook) -> int:
    return cents_of(used.gpu_seconds, book.price_micros(used.rate_id) or 0)
