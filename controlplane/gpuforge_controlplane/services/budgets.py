"""Tenants' monthly budgets: set by an operator, watched by the meter."""

from __future__ import annotations

from datetime import datetime

from gpuforge_controlplane.domain import budgets as rules
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.usage import Spent, budget_record, midnight, month_cents, spent_since
from gpuforge_controlplane.storage import budgets, rates, tenants
from gpuforge_controlplane.storage.database import Connection
from gpuforge_shared.errors import not_found
from gpuforge_shared.wire.billing import BudgetRecord, BudgetSet


async def set_budget(ctx: Context, tenant_id: int, body: BudgetSet) -> BudgetRecord:
    """Set or take away a tenant's budget for a calendar month. It stops nothing: it tells."""
    if tenant_id not in await tenants.lock(ctx.tx, [tenant_id]):
        raise not_found("tenant", tenant_id)
    before = await budgets.of(ctx.tx, tenant_id)
    cents = None if body.monthly_amount is None else int(body.monthly_amount.scaleb(2))
    if cents != before:
        await budgets.put(ctx.tx, tenant_id, cents, ctx.now)
        await ctx.audit(
            "budget.set",
            "tenant",
            tenant_id,
            before={"monthly_cents": before},
            after={"monthly_cents": cents},
        )
    book = await rates.book(ctx.tx)
    since = min(rules.month_start(ctx.now), midnight(ctx.now) - rules.LOOKBACK)
    spent = await spent_since(ctx.tx, ctx.now, since, book, tenant_id=tenant_id)
    return await budget_record(ctx, tenant_id, spent, book)


async def note_crossings(tx: Connection, now: datetime) -> list[tuple[int, int]]:
    """Note which budgets' percentages are crossed this month, each once; those that are new, as `(tenant,
    percent)`."""
    limits = await budgets.every(tx)
    if not limits:
        return []
    month, book = rules.month_start(now), await rates.book(tx)
    theirs: dict[int, list[Spent]] = {tenant_id: [] for tenant_id in limits}
    for each in await spent_since(tx, now, month, book):
        if each.tenant_id in theirs:
            theirs[each.tenant_id].append(each)
    found = []
    for tenant_id, budget in limits.items():
        spent = month_cents(theirs[tenant_id], month, book)
        found += [
            (tenant_id, percent)
            for percent in rules.crossed(budget, spent)
            if await budgets.note_crossing(
                tx, tenant_id=tenant_id, month=month, percent=percent, budget=budget, spent=spent, now=now
            )
        ]
    return found
