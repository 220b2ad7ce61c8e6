"""Payments by Stripe: the outbox that makes and closes payment links, and what its webhooks tell."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuforge_controlplane.domain.invoicing import UNPAID, number_of
from gpuforge_controlplane.gateways.stripe import (
    Deactivated,
    LinkMade,
    LinkOrder,
    LinkRefused,
    Postponed,
    StripeGateway,
)
from gpuforge_controlplane.gateways.stripe_webhooks import PaymentNotice
from gpuforge_controlplane.services.invoices import close_link, invoice_record
from gpuforge_controlplane.storage import audit, invoices, payments
from gpuforge_controlplane.storage.columns import to_micros
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.invoices import StoredInvoice
from gpuforge_controlplane.storage.payments import PaymentTask
from gpuforge_shared.clock import Clock
from gpuforge_shared.wire.billing import InvoiceIssued

ACTOR = "stripe"
A_ROUND = 20  # tasks
CLAIM = timedelta(seconds=60)  # longer than any call takes; after a crash another tries, with the same key
ATTEND_S = 8.0  # how long a request for an invoice waits for its link
NO_KEY = "no Stripe key is set: set GPUFORGE_STRIPE_API_KEY and restart, and the link is made"
_NO_KEY_AGAIN_S = 300.0
# What Stripe refuses is mostly the account's trouble, which a person mends: asked again, under another key.
_REFUSED_AGAIN_S = 3600.0
_BACKOFF_S, _BACKOFF_CAP_S = 5.0, 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What became of a payment that Stripe told of."""

    outcome: str
    invoice: str | None


class PaymentDesk:
    """Works off the outbox. Safe on all replicas at once: a task is claimed before it is done."""

    def __init__(self, database: Database, clock: Clock, gateway: StripeGateway | None) -> None:
        self._database = database
        self._clock = clock
        self._gateway = gateway
        self._underway: dict[int, asyncio.Task[None]] = {}

    async def work(self) -> None:
        """One round over the tasks that are due."""
        async with self._database.read() as tx:
            due = await payments.due(tx, self._clock(), A_ROUND)
        for task_id in due:
            await self._once(task_id)

    async def with_link(self, answer: InvoiceIssued) -> InvoiceIssued:
        """The answer with its payment link, if that can be had at once; else with the reason why not."""
        invoice_id = answer["invoice"]["id"]
        async with self._database.read() as tx:
            undone = await payments.undone(tx, invoice_id)
        running = [asyncio.create_task(self._once(task_id)) for task_id in undone]
        if running:  # whoever gives up waiting leaves them running
            await asyncio.wait(running, timeout=ATTEND_S)
        async with self._database.read() as tx:
            stored = await invoices.by_id(tx, invoice_id)
        if stored is None:
            return answer
        url, reason = stored["link_url"], stored["link_reason"]
        return {
            **answer,
            "invoice": invoice_record(stored),
            "payment_url": url,
            "payment_url_reason": reason,
        }

    async def close(self) -> None:
        """Let what is underway end."""
        await asyncio.gather(*self._underway.values(), return_exceptions=True)

    async def _once(self, task_id: int) -> None:
        """Do the task; who asks for it meanwhile waits for the same end."""
        running = self._underway.get(task_id)
        if running is None:
            running = asyncio.create_task(self._do(task_id))
            self._underway[task_id] = running
            running.add_done_callback(lambda _: self._underway.pop(task_id, None))
        await asyncio.shield(running)

    async def _do(self, task_id: int) -> None:
        now = self._clock()
        async with self._database.write() as tx:
            task = await payments.claim(tx, task_id, now, now + CLAIM)
            stored = None if task is None else await invoices.by_id(tx, task["invoice_id"])
        if task is None or stored is None:
            return
        # No transaction is open from here to the answer.
        outcome = await self._ask(task, stored)
        await self._database.transact(lambda tx: _settle(tx, task, outcome, self._clock()))

    async def _ask(self, task: PaymentTask, stored: StoredInvoice) -> _Outcome:
        if self._gateway is None:
            if task["kind"] == "withdraw":
                return LinkRefused(reason="no link is needed any more", final=True)
            return Postponed(reason=NO_KEY, retry_after_s=_NO_KEY_AGAIN_S)
        kind = "deactivate" if task["kind"] == "deactivate" else "link"
        # With its moment: another installation in the same Stripe account has an invoice of this id, too.
        issued = f"{stored['id']}-{to_micros(stored['issued_at'])}"
        key = f"gpuforge-invoice-{issued}-{kind}-{task['generation']}"
        if task["kind"] == "deactivate":
            return await self._gateway.deactivate_link(task["link_id"] or "", key)
        if task["kind"] == "link" and stored["status"] not in UNPAID:
            return LinkRefused(reason=f"the invoice is {stored['status']}", final=True)
        order = LinkOrder(
            invoice_id=stored["id"],
            number=number_of(stored["sequence"]),
            description=f"GPU time of {stored['period_start']:%Y-%m-%d} to {stored['period_end']:%Y-%m-%d}",
            amount_cents=stored["total_cents"],
            currency=stored["currency"],
            idempotency_key=key,
        )
        return await self._gateway.create_link(order)


async def receive(tx: Connection, notice: PaymentNotice, now: datetime) -> Received:
    """Mark an invoice as paid, once, if what was paid is what it asks for. Anything else is noted, audited
    and left to a person: money has moved."""
    stored = await invoices.lock(tx, notice.invoice_id)
    outcome = _judge(stored, notice)
    if not await payments.heed(tx, notice.event_id, notice.invoice_id, outcome, now):
        return Received(outcome="repeated", invoice=None)
    number = None if stored is None else number_of(stored["sequence"])
    told = {"event": notice.event_id, "outcome": outcome, "amount_cents": notice.amount_cents}
    told |= {"currency": notice.currency, "link": notice.link_id}
    if outcome == "paid" and stored is not None:
        values = {"status": "paid", "paid_at": notice.paid_at, "paid_by": "stripe"}
        await invoices.change(tx, stored["id"], values)
        await close_link(tx, stored, now, "the invoice is paid")
    else:
        _log.warning("a payment needs a person", extra={**told, "invoice": number})
    row = {"before": stored, "after": told, "object_id": notice.invoice_id}
    await audit.append(tx, {**_BY_STRIPE, "at": now, "action": "invoice.payment", **row})
    return Received(outcome=outcome, invoice=number)


_Outcome = LinkMade | LinkRefused | Postponed | Deactivated
_BY_STRIPE = {"principal": ACTOR, "object_type": "invoice", "request_id": ACTOR}


def _judge(stored: StoredInvoice | None, notice: PaymentNotice) -> str:
    if stored is None:
        return "unknown_invoice"
    if stored["status"] == "void":
        return "invoice_void"
    if stored["status"] == "paid":
        return "already_paid"
    if stored["link_id"] != notice.link_id:
        return "other_link"
    if (notice.amount_cents, notice.currency.upper()) != (stored["total_cents"], stored["currency"]):
        return "other_amount"
    return "paid"


async def _settle(tx: Connection, task: PaymentTask, outcome: _Outcome, now: datetime) -> None:
    """Keep what came of a task. The invoice is held first, as by everybody who holds both."""
    stored = await invoices.lock(tx, task["invoice_id"])
    assert stored is not None  # invoices are never deleted
    wanted = await payments.kind_of(tx, task["id"]) == "link" and stored["status"] in UNPAID
    if isinstance(outcome, LinkRefused) and not outcome.final:
        outcome = Postponed(reason=outcome.reason, fresh_key=True, retry_after_s=_REFUSED_AGAIN_S)
    if isinstance(outcome, Postponed):
        await _postpone(tx, task, outcome, now, tell=wanted)
        return
    refused = None
    if isinstance(outcome, LinkMade):
        await _keep_link(tx, stored, outcome, now, wanted=wanted)
    elif isinstance(outcome, LinkRefused):
        refused = outcome.reason[:1024]
        if wanted:
            await invoices.change(tx, stored["id"], {"link_reason": refused})
    elif outcome.completed_sessions and stored["paid_by"] != "stripe":
        _log.warning("a link was paid before it was closed", extra={"invoice_id": stored["id"]})
    await payments.finish(tx, task["id"], now, error=refused)


async def _keep_link(
    tx: Connection, stored: StoredInvoice, made: LinkMade, now: datetime, *, wanted: bool
) -> None:
    if wanted and stored["link_id"] in (None, made.id):
        link = {"link_id": made.id, "link_url": made.url, "link_reason": None}
        await invoices.change(tx, stored["id"], link)
    else:  # paid, voided or left behind while Stripe was asked
        await payments.enqueue(tx, stored["id"], "deactivate", now, link_id=made.id)


async def _postpone(
    tx: Connection, task: PaymentTask, outcome: Postponed, now: datetime, *, tell: bool
) -> None:
    backoff = min(_BACKOFF_CAP_S, _BACKOFF_S * 2 ** min(task["attempts"] - 1, 20))
    wait_s = backoff if outcome.retry_after_s is None else outcome.retry_after_s
    await payments.postpone(
        tx,
        task["id"],
        now + timedelta(seconds=wait_s),
        error=outcome.reason[:1024],
        generation=task["generation"] + int(outcome.fresh_key),
    )
    if tell:
        await invoices.change(tx, task["invoice_id"], {"link_reason": outcome.reason[:1024]})
