"""Tenants' monthly budgets: set by an operator, watched by the meter."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from gpuforge_controlplane.domain import budgets as rules
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.usage import Spent, budget_record, midnight, month_cents, spent_since
from gpuforge_controlplane.storage import budgets, rates, tenants
from gpuforge_controlplane.storage.database import Database
from gpuforge_shared.errors import not_found
from gpuforge_shared.wire.billing import BudgetRecord, BudgetSet

_A_DAY = timedelta(days=1)


async def set_budget(ctx: Context, tenant_id: int, body: BudgetSet) -> BudgetRecord:
    """Set or take away a tenant's budget for a calendar month. It stops nothing: it tells."""
    if tenant_id not in await tenants.lock(ctx.tx, [tenant_id]):
        raise not_found("tenant", tenant_id)
    before = await budgets.of(ctx.tx, tenant_id)
    cents = None if body.monthly_amount is None else int(body.monthly_amount.scaleb(2))
    book = await rates.book(ctx.tx)
    since = min(rules.month_start(ctx.now), midnight(ctx.now) - rules.LOOKBACK)
    spent = await spent_since(ctx.tx, ctx.now, since, book, tenant_id=tenant_id)
    if cents != before:
        await budgets.put(ctx.tx, tenant_id, cents, ctx.now)
        month = rules.month_start(ctx.now)
        reached = [] if cents is None else rules.crossed(cents, month_cents(spent, month, book))
        await budgets.forget_crossings(ctx.tx, tenant_id, month, above=max(reached, default=0))
        await ctx.audit(
            "budget.set",
            "tenant",
            tenant_id,
            before={"monthly_cents": before},
            after={"monthly_cents": cents},
        )
    return await budget_record(ctx, tenant_id, spent, book)


async def note_crossings(database: Database, now: datetime) -> list[tuple[int, int]]:
    """Note which budgets' percentages are crossed, each once a month; those that are new, as `(tenant,
    percent)`. On a month's first day, of the month before as well: its last minutes count, too."""
    months = sorted({rules.month_start(now - _A_DAY), rules.month_start(now)})
    async with database.read() as tx:
        limits = await budgets.every(tx)
        if not limits:
            return []
        book = await rates.book(tx)
        spent = await spent_since(tx, now, months[0], book)
    by_month: dict[tuple[int | None, datetime], list[Spent]] = defaultdict(list)
    for each in spent:
        by_month[each.tenant_id, rules.month_start(each.day)].append(each)
    found = []
    for month in months:
        for tenant_id, budget in limits.items():
            cents = month_cents(by_month[tenant_id, month], month, book)
            crossed = rules.crossed(budget, cents)
            if crossed:
                async with database.write() as tx:
                    found += [
                        (tenant_id, percent)
                        for percent in crossed
                        if await budgets.note_crossing(
                            tx, tenant_id=tenant_id, month=month, percent=percent, budget=budget,
                            spent=cents, now=now,
                        )
                    ]  # fmt: skip
    return found
