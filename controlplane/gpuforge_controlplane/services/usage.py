"""What GPU time took and costs: a tenant's usage, everybody's revenue; from the ledger and what runs now."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuforge_controlplane.domain import budgets as rules
from gpuforge_controlplane.domain.metering import RateBook, from_second
from gpuforge_controlplane.domain.pricing import (
    CURRENCY,
    Line,
    cents_of,
    dollars,
    lines_of,
    price_of,
    total_cents,
)
from gpuforge_controlplane.services.context import Context, Page, decode_cursor
from gpuforge_controlplane.services.metering import pending_segments
from gpuforge_controlplane.storage import budgets, ledger, rates, tenants
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.ledger import Accruing, LedgerRow
from gpuforge_shared.errors import not_found
from gpuforge_shared.wire.base import MAX_ID
from gpuforge_shared.wire.billing import (
    BudgetRecord,
    DayCost,
    DayRevenue,
    DaysQuery,
    Revenue,
    TenantRevenue,
    TenantUsage,
    TypeCost,
    TypeRevenue,
    UsageEvent,
    UsageQuery,
)

EVENTS_A_PAGE = 100
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """GPU-seconds of one UTC day, owner, family and rate. `accruing`: not in the ledger yet."""

    day: datetime
    tenant_id: int | None
    family: str
    rate_id: int | None
    gpu_seconds: int
    accruing: bool


async def spent_since(
    tx: Connection, now: datetime, since: datetime, book: RateBook, *, tenant_id: int | None = None
) -> list[Spent]:
    """All that was used from `since` (a midnight) to `now`, metered or about to be."""
    found = [
        Spent(
            day=row["day"],
            tenant_id=row["tenant_id"] or None,
            family=row["family"],
            rate_id=row["rate_id"] or None,
            gpu_seconds=row["gpu_seconds"],
            accruing=False,
        )
        for row in await ledger.day_sums(tx, since=since, tenant_id=tenant_id)
    ]
    accruing = await ledger.accruing(tx, tenant_id=tenant_id)
    # In a thread: of 100,000 jobs this takes half a second, and requests are to go on.
    return found + await asyncio.to_thread(_accrued, accruing, now, since, book)


def _accrued(accruing: Sequence[Accruing], now: datetime, since: datetime, book: RateBook) -> list[Spent]:
    """What runs, by day, owner, family and rate, as the meter would write it now."""
    seconds: dict[tuple[datetime, int | None, str, int | None], int] = defaultdict(int)
    for open_ in accruing:
        for piece in pending_segments(open_, now, book):
            day = midnight(from_second(piece.start_s))
            if day >= since:
                key = (day, open_["tenant_id"], open_["family"], piece.rate_id)
                seconds[key] += piece.seconds * open_["gpu_count"]
    return [
        Spent(
            day=day,
            tenant_id=tenant_id,
            family=family,
            rate_id=rate_id,
            gpu_seconds=taken,
            accruing=True,
        )
        for (day, tenant_id, family, rate_id), taken in seconds.items()
    ]


async def tenant_usage(ctx: Context, tenant_id: int, query: UsageQuery) -> Page[TenantUsage]:
    """A tenant's usage and its cost, by GPU type and by day, with the ledger's rows in pages."""
    tenant = await tenants.by_id(ctx.tx, tenant_id)
    if tenant is None or ctx.principal.tenant_id not in (None, tenant_id):
        raise not_found("tenant", tenant_id)
    since, book = window_start(ctx.now, query.days), await rates.book(ctx.tx)
    month = rules.month_start(ctx.now)
    earliest = min(since, month, midnight(ctx.now) - rules.LOOKBACK)
    everything = await spent_since(ctx.tx, ctx.now, earliest, book, tenant_id=tenant_id)
    spent = [each for each in everything if each.day >= since]
    limit = query.limit or EVENTS_A_PAGE
    rows = await ledger.page(
        ctx.tx,
        tenant_id=tenant_id,
        since=since,
        until=ctx.now,
        before_id=decode_cursor(query.cursor, start=MAX_ID),
        limit=limit + 1,
    )
    lines = _lines(spent, book)
    seconds = sum(each.gpu_seconds for each in spent)
    answer = TenantUsage(
        tenant_id=tenant_id,
        tenant_name=tenant["name"],
        days=query.days,
        period_start=since,
        period_end=ctx.now,
        currency=CURRENCY,
        total_gpu_seconds=seconds,
        total_gpu_hours=hours(seconds),
        total_cost=dollars(total_cents(lines)),
        total_cost_cents=total_cents(lines),
        accruing_gpu_seconds=sum(each.gpu_seconds for each in spent if each.accruing),
        by_gpu_type=[
            TypeCost(
                gpu_type=part.name,
                gpu_seconds=part.gpu_seconds,
                gpu_hours=hours(part.gpu_seconds),
                cost=dollars(part.cents),
                cost_cents=part.cents,
                unrated_gpu_seconds=part.unrated,
            )
            for part in _by_family(lines)
        ],
        by_day=[
            DayCost(
                date=day.date(),
                gpu_seconds=taken,
                gpu_hours=hours(taken),
                cost=dollars(cents),
                cost_cents=cents,
            )
            for day, taken, cents in _by_day(spent, book, since, query.days)
        ],
        budget=await budget_record(ctx, tenant_id, everything, book),
        events=[_event(row, book) for row in rows[:limit]],
    )
    return Page(answer, rows[limit - 1]["id"] if len(rows) > limit else None)


async def revenue(ctx: Context, query: DaysQuery) -> Revenue:
    """Revenue per tenant, by GPU type and per day, and in total; a tenant's key sees its own alone."""
    since, book = window_start(ctx.now, query.days), await rates.book(ctx.tx)
    spent = await spent_since(ctx.tx, ctx.now, since, book, tenant_id=ctx.principal.tenant_id)
    owners: dict[int | None, list[Spent]] = defaultdict(list)
    for each in spent:
        owners[each.tenant_id].append(each)
    lines = {owner: _lines(theirs, book) for owner, theirs in owners.items()}
    names = await tenants.names(ctx.tx, [owner for owner in owners if owner is not None])
    total = sum(total_cents(theirs) for theirs in lines.values())
    parts = [
        TenantRevenue(
            tenant_id=owner,
            tenant_name="no tenant" if owner is None else names.get(owner, f"tenant {owner}"),
            gpu_seconds=sum(line.gpu_seconds for line in theirs),
            gpu_hours=hours(sum(line.gpu_seconds for line in theirs)),
            revenue=dollars(total_cents(theirs)),
            revenue_cents=total_cents(theirs),
        )
        for owner, theirs in lines.items()
    ]
    return Revenue(
        days=query.days,
        period_start=since,
        period_end=ctx.now,
        currency=CURRENCY,
        total_revenue=dollars(total),
        total_revenue_cents=total,
        total_gpu_hours=hours(sum(each.gpu_seconds for each in spent)),
        tenants=sorted(parts, key=lambda part: (-part["revenue_cents"], part["tenant_id"] or 0)),
        by_gpu_type=[
            TypeRevenue(
                gpu_type=part.name,
                gpu_seconds=part.gpu_seconds,
                gpu_hours=hours(part.gpu_seconds),
                revenue=dollars(part.cents),
                revenue_cents=part.cents,
                unrated_gpu_seconds=part.unrated,
            )
            for part in _by_family([line for theirs in lines.values() for line in theirs])
        ],
        by_day=[
            DayRevenue(
                date=day.date(),
                gpu_seconds=taken,
                gpu_hours=hours(taken),
                revenue=dollars(cents),
                revenue_cents=cents,
            )
            for day, taken, cents in _by_day(spent, book, since, query.days)
        ],
    )


async def budget_record(ctx: Context, tenant_id: int, spent: Sequence[Spent], book: RateBook) -> BudgetRecord:
    """The month's budget against `spent`, which must reach back to its first day and a week."""
    month, today = rules.month_start(ctx.now), midnight(ctx.now)
    so_far = total_cents(_lines([each for each in spent if each.day >= month], book))
    week = [today - (back + 1) * _DAY for back in range(rules.LOOKBACK_DAYS)]
    known_since = min((each.day for each in spent), default=today)
    last_days = [
        total_cents(_lines([each for each in spent if each.day == day], book))
        for day in week
        if day >= known_since
    ]
    forecast = rules.forecast_cents(so_far, last_days, ctx.now)
    budget = await budgets.of(ctx.tx, tenant_id)
    return BudgetRecord(
        month=f"{month:%Y-%m}",
        budget=None if budget is None else dollars(budget),
        budget_cents=budget,
        spent=dollars(so_far),
        spent_cents=so_far,
        forecast=dollars(forecast),
        forecast_cents=forecast,
        crossed_percent=[] if budget is None else rules.crossed(budget, so_far),
    )


def window_start(now: datetime, days: int) -> datetime:
    """The first midnight of a window of so many UTC days, today included."""
    return midnight(now) - (days - 1) * _DAY


def midnight(moment: datetime) -> datetime:
    """The beginning of its UTC day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def hours(gpu_seconds: int) -> float:
    """GPU-hours, for people to read: four decimals. Money is never computed from them."""
    return round(gpu_seconds / 3600, 4)


def month_cents(spent: Iterable[Spent], month: datetime, book: RateBook) -> int:
    """What one owner's time since the first of the month costs."""
    return total_cents(_lines([each for each in spent if each.day >= month], book))


@dataclass(slots=True, kw_only=True)
class _Part:
    name: str
    gpu_seconds: int = 0
    cents: int = 0
    unrated: int = 0


def _by_family(lines: Iterable[Line]) -> list[_Part]:
    parts: dict[str, _Part] = {}
    for line in lines:
        part = parts.setdefault(line.family, _Part(name=line.family))
        part.gpu_seconds += line.gpu_seconds
        part.cents += line.amount_cents or 0
        part.unrated += line.gpu_seconds if line.amount_cents is None else 0
    return [parts[name] for name in sorted(parts)]


def _by_day(
    spent: Sequence[Spent], book: RateBook, since: datetime, days: int
) -> list[tuple[datetime, int, int]]:
    """Day, GPU-seconds, cents of every day of the window, idle ones too: a chart has no holes."""
    by_day: dict[datetime, list[Spent]] = defaultdict(list)
    for each in spent:
        by_day[each.day].append(each)
    every = [since + back * _DAY for back in range(days)]
    return [
        (day, sum(each.gpu_seconds for each in by_day[day]), total_cents(_lines(by_day[day], book)))
        for day in every
    ]


def _lines(spent: Iterable[Spent], book: RateBook) -> list[Line]:
    seconds: dict[tuple[str, int | None], int] = defaultdict(int)
    for each in spent:
        seconds[each.family, each.rate_id] += each.gpu_seconds
    return lines_of(seconds, book)


def _event(row: LedgerRow, book: RateBook) -> UsageEvent:
    price = book.price_micros(row["rate_id"])
    cents = None if price is None else cents_of(row["gpu_seconds"], price)
    return UsageEvent(
        id=row["id"],
        job_id=row["job_id"],
        gpu_id=row["gpu_id"],
        gpu_type=row["family"],
        rate_per_hour=None if price is None else price_of(price),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        gpu_seconds=row["gpu_seconds"],
        gpu_hours=hours(row["gpu_seconds"]),
        cost=None if cents is None else dollars(cents),
        cost_cents=cents,
        invoice_id=row["invoice_id"],
    )
