"""The outbox to Stripe, and which of its events were heeded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypedDict

from sqlalchemy import ColumnElement, func, or_, select, update

from gpuforge_controlplane.storage.billing_schema import invoices, payment_tasks, stripe_events
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import insert, record

# withdraw: it may be that a link was made; its order is repeated, to learn its id, and it is closed
TaskKind = Literal["link", "withdraw", "deactivate"]


class PaymentTask(TypedDict):
    """A row of `payment_tasks`."""

    id: int
    invoice_id: int
    kind: TaskKind
    link_id: str | None
    generation: int
    attempts: int


_COLUMNS = [payment_tasks.c[name] for name in PaymentTask.__annotations__]


async def enqueue(
    tx: Connection, invoice_id: int, kind: TaskKind, now: datetime, *, link_id: str | None = None
) -> None:
    """A task, due at once. Its generation counts those of its kind before, so that no idempotency key is
    used for two links."""
    before = select(func.count()).where(
        payment_tasks.c.invoice_id == invoice_id,
        payment_tasks.c.kind.in_(("link", "withdraw") if kind == "link" else (kind,)),
    )
    values = {"invoice_id": invoice_id, "kind": kind, "link_id": link_id, "attempts": 0}
    times = {"due_at": now, "created_at": now}
    generation = 1_000 * int(
        await tx.scalar(before) or 0
    )  # room for new keys after failures that Stripe keeps
    await tx.execute(insert(tx, payment_tasks).values(**values, **times, generation=generation))


async def drop_link(tx: Connection, invoice_id: int, now: datetime) -> None:
    """Whoever wanted a link for this invoice wants none any more. What Stripe was asked for is withdrawn."""
    open_ = (
        update(payment_tasks)
        .where(payment_tasks.c.invoice_id == invoice_id)
        .where(payment_tasks.c.kind == "link", payment_tasks.c.done_at.is_(None))
    )
    needless = {"done_at": now, "last_error": "no link is needed any more"}
    await tx.execute(open_.where(payment_tasks.c.attempts == 0).values(**needless))
    await tx.execute(open_.where(payment_tasks.c.attempts > 0).values(kind="withdraw", due_at=now))


async def kind_of(tx: Connection, task_id: int) -> TaskKind:
    """What the task is by now."""
    kind: TaskKind = (
        await tx.execute(select(payment_tasks.c.kind).where(payment_tasks.c.id == task_id).with_for_update())
    ).scalar_one()
    return kind


async def clear(tx: Connection, now: datetime, reason: str) -> None:
    """No link for anything: of a database that nobody pays for."""
    await tx.execute(update(payment_tasks).where(payment_tasks.c.done_at.is_(None)).values(done_at=now))
    await tx.execute(update(invoices).values(link_reason=reason))


async def due(tx: Connection, now: datetime, limit: int) -> Sequence[int]:
    """Ids of tasks to be done, those that wait longest first."""
    query = (
        select(payment_tasks.c.id)
        .where(payment_tasks.c.done_at.is_(None), payment_tasks.c.due_at <= now, _free(now))
        .order_by(payment_tasks.c.due_at, payment_tasks.c.id)
        .limit(limit)
    )
    return (await tx.execute(query)).scalars().all()


async def undone(tx: Connection, invoice_id: int) -> Sequence[int]:
    """Ids of an invoice's tasks that have not been tried yet."""
    query = select(payment_tasks.c.id).where(
        payment_tasks.c.invoice_id == invoice_id,
        payment_tasks.c.done_at.is_(None),
        payment_tasks.c.attempts == 0,
    )
    return (await tx.execute(query.order_by(payment_tasks.c.id))).scalars().all()


async def claim(tx: Connection, task_id: int, now: datetime, until: datetime) -> PaymentTask | None:
    """The task, this process's until `until`; None where it is done or another's."""
    taken = (
        update(payment_tasks)
        .where(payment_tasks.c.id == task_id, payment_tasks.c.done_at.is_(None), _free(now))
        .values(claimed_until=until, attempts=payment_tasks.c.attempts + 1)
        .returning(*_COLUMNS)
    )
    return record(await tx.execute(taken), PaymentTask)


async def finish(tx: Connection, task_id: int, now: datetime, *, error: str | None = None) -> None:
    """Done, for good or in vain."""
    values = {"done_at": now, "claimed_until": None, "last_error": error}
    await tx.execute(update(payment_tasks).where(payment_tasks.c.id == task_id).values(**values))


async def postpone(tx: Connection, task_id: int, due_at: datetime, *, error: str, generation: int) -> None:
    """To be tried again."""
    values = {"due_at": due_at, "claimed_until": None, "last_error": error, "generation": generation}
    await tx.execute(update(payment_tasks).where(payment_tasks.c.id == task_id).values(**values))


async def heed(tx: Connection, event_id: str, invoice_id: int | None, outcome: str, now: datetime) -> bool:
    """Note an event of Stripe's; False where it was heeded before."""
    values = {"event_id": event_id, "invoice_id": invoice_id, "outcome": outcome, "received_at": now}
    made = insert(tx, stripe_events).values(**values).on_conflict_do_nothing()
    return (await tx.execute(made)).rowcount == 1


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(payment_tasks.c.claimed_until.is_(None), payment_tasks.c.claimed_until <= now)
