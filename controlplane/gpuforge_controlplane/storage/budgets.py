"""Tenants' monthly budgets, and which parts of them were crossed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import and_, delete, func, select

from gpuforge_controlplane.domain.rules import CATALOGUE
from gpuforge_controlplane.storage.alert_schema import alert_events
from gpuforge_controlplane.storage.billing_schema import budget_crossings, budgets
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import insert


async def of(tx: Connection, tenant_id: int) -> int | None:
    """Cents a month; None without a budget."""
    cents: int | None = await tx.scalar(
        select(budgets.c.monthly_cents).where(budgets.c.tenant_id == tenant_id)
    )
    return cents


async def every(tx: Connection) -> dict[int, int]:
    """Cents a month by tenant."""
    found = await tx.execute(select(budgets.c.tenant_id, budgets.c.monthly_cents))
    return {row[0]: row[1] for row in found.all()}


async def crossed(tx: Connection, month: datetime) -> dict[int, int]:
    """By tenant with a budget the highest percentage of it that was crossed in that month; 0 where none."""
    table = budget_crossings.c
    query = (
        select(budgets.c.tenant_id, func.coalesce(func.max(table.percent), 0))
        .outerjoin(budget_crossings, and_(table.tenant_id == budgets.c.tenant_id, table.month == month))
        .group_by(budgets.c.tenant_id)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def told(tx: Connection, month: datetime) -> dict[int, int]:
    """By tenant the highest of these percentages that an alert event has told of since it was crossed."""
    table, events = budget_crossings.c, alert_events.c
    query = (
        select(table.tenant_id, func.max(table.percent))
        .join(
            alert_events,
            and_(
                events.rule_id == CATALOGUE["budget"].rule.id,
                events.subject_id == table.tenant_id,
                events.started_at >= table.crossed_at,
                events.threshold >= table.percent,
            ),
        )
        .where(table.month == month)
        .group_by(table.tenant_id)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def forget_crossings(tx: Connection, tenant_id: int, month: datetime, above: int) -> None:
    """What lies above that percentage of another budget may be crossed again."""
    table = budget_crossings.c
    wanted = and_(table.tenant_id == tenant_id, table.month == month, table.percent > above)
    await tx.execute(delete(budget_crossings).where(wanted))


async def put(tx: Connection, tenant_id: int, cents: int | None, now: datetime) -> None:
    """Set a budget; None takes it away."""
    if cents is None:
        await tx.execute(delete(budgets).where(budgets.c.tenant_id == tenant_id))
        return
    made = insert(tx, budgets).values(tenant_id=tenant_id, monthly_cents=cents, updated_at=now)
    changed = {"monthly_cents": cents, "updated_at": now}
    await tx.execute(made.on_conflict_do_update(index_elements=[budgets.c.tenant_id], set_=changed))


async def note_crossing(
    tx: Connection, *, tenant_id: int, month: datetime, percent: int, budget: int, spent: int, now: datetime
) -> bool:
    """Note that a percentage of the month's budget was crossed; False where that is known already."""
    values = {"tenant_id": tenant_id, "month": month, "percent": percent}
    amounts = {"budget_cents": budget, "spent_cents": spent, "crossed_at": now}
    made = insert(tx, budget_crossings).values(**values, **amounts).on_conflict_do_nothing()
    return (await tx.execute(made)).rowcount == 1
