"""Random histories of work and money, and an independent calculator of what they must come to.

A history is a list of things that happen to one tenant and one family of GPUs, drawn from a seed: jobs start
and end, nodes fall silent, rates change, the meter runs or dies at any statement, invoices are issued and
voided, the clock steps back and forth by an hour. Many histories share a database; each has a family, a
tenant and GPUs of its own.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from sqlalchemy import event, select, update

from gpuforge_controlplane.domain.access import Kind, Principal, closure
from gpuforge_controlplane.domain.decisions import Start
from gpuforge_controlplane.domain.lifecycle import JobStatus
from gpuforge_controlplane.domain.placement import NodeShare
from gpuforge_controlplane.domain.snapshot import QueuedJob
from gpuforge_controlplane.services import drafts, invoices, metering, rates, usage
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.scheduling import end_job, start
from gpuforge_controlplane.storage.billing_schema import invoice_lines, usage_days, usage_events
from gpuforge_controlplane.storage.billing_schema import invoices as invoices_table
from gpuforge_controlplane.storage.billing_schema import rates as rates_table
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.schema import allocations, clusters, gpus, jobs, nodes, tenants
from gpuforge_shared.errors import GPUForgeError, Invalid
from gpuforge_shared.wire.billing import DaysQuery, InvoiceQuery, InvoiceStatusUpdate, InvoiceVoid, RateSet

# The night of a daylight-saving change in most of Europe: UTC does not care, and must not.
BEGIN = datetime(2026, 10, 24, 21, 30, 17, 250_000, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPERATOR = Principal(name="operator", kind=Kind.OPERATOR, scopes=closure(("admin",)))
GPUS = 3


class Crash(Exception):
    """The process died here."""


@dataclass(slots=True)
class History:
    """One history on a database."""

    database: Database
    seed: int
    now: datetime = BEGIN
    tenant_id: int = 0
    node_id: int = 0
    cluster_id: int = 0
    gpu_ids: list[int] = field(default_factory=list)
    running: dict[int, list[int]] = field(default_factory=dict)  # job -> GPUs
    story: list[str] = field(default_factory=list)

    @property
    def family(self) -> str:
        return f"X{self.seed}"

    async def run(self, steps: int) -> None:
        """Let `steps` things happen, then end all that runs, and meter."""
        chance = random.Random(self.seed)  # not a secret
        await self._settle_in()
        things: list[Callable[[random.Random], Awaitable[None]]] = [
            self._start, self._start, self._end, self._end, self._lose, self._price, self._own_price,
            self._meter, self._meter, *[self._invoice] * 2, self._pay, self._void, self._step,
            *[self._wait] * 3,
        ]  # fmt: skip
        if chance.random() < 0.8:  # else it is unrated at first
            await self._price(chance)
        await self._start(chance)
        for _ in range(steps):
            thing = chance.choice(things)
            self.story.append(thing.__name__)
            if chance.random() < 0.2 and thing not in (self._step, self._wait):
                await self._crash(thing, chance)
            else:
                await thing(chance)
        while self.running:
            await self._end(chance)
        await self._meter(chance)

    async def check(self) -> None:
        """Compare the ledger and the invoices with what the allocations and rates come to."""
        async with self.database.read() as tx:
            held = (
                await tx.execute(
                    select(allocations)
                    .where(allocations.c.gpu_id.in_(self.gpu_ids))
                    .order_by(allocations.c.id)
                )
            ).all()
            ledger = (
                await tx.execute(select(usage_events).where(usage_events.c.gpu_id.in_(self.gpu_ids)))
            ).all()
            versions = (
                await tx.execute(select(rates_table).where(rates_table.c.family == self.family))
            ).all()
            days = (await tx.execute(select(usage_days).where(usage_days.c.family == self.family))).all()
        _compare_seconds(held, ledger)
        _see_no_second_twice(ledger)
        _compare_costs(held, ledger, versions)
        assert sum(day.gpu_seconds for day in days) == sum(row.gpu_seconds for row in ledger)
        await self._check_invoices(ledger, versions)

    async def _check_invoices(self, ledger: Sequence[Any], versions: Sequence[Any]) -> None:
        prices = {version.id: version.price_micros for version in versions}
        async with self.database.read() as tx:
            issued = (
                await tx.execute(select(invoices_table).where(invoices_table.c.tenant_id == self.tenant_id))
            ).all()
            lines = (
                await tx.execute(
                    select(invoice_lines).where(invoice_lines.c.invoice_id.in_([each.id for each in issued]))
                )
            ).all()
        for invoice in issued:
            claimed = [row for row in ledger if row.invoice_id == invoice.id]
            own = [line for line in lines if line.invoice_id == invoice.id]
            assert invoice.total_cents == sum(line.amount_cents for line in own)
            if invoice.status == "void":
                assert claimed == []
                continue
            for line in own:
                seconds = sum(row.gpu_seconds for row in claimed if row.rate_id == line.rate_id)
                assert (line.gpu_seconds, line.price_micros) == (seconds, prices[line.rate_id])
                assert line.amount_cents == _half_up(Fraction(seconds * line.price_micros, 3600 * 10_000))
            assert sum(row.gpu_seconds for row in claimed) == invoice.gpu_seconds

    async def _settle_in(self) -> None:
        async with self.database.write() as tx:
            self.tenant_id = await _made(
                tx, tenants, name=f"tenant {self.seed}", gpu_quota=9, plan_tier="pro", status="active",
                created_at=self.now,
            )  # fmt: skip
            self.cluster_id = await _made(tx, clusters, name=f"cluster {self.seed}", created_at=self.now)
            self.node_id = await _made(
                tx, nodes, cluster_id=self.cluster_id, hostname="n", state="active",
                last_heartbeat_at=self.now, created_at=self.now,
            )  # fmt: skip
            self.gpu_ids = [
                await _made(
                    tx, gpus, node_id=self.node_id, gpu_index=index, model=self.family, status="idle",
                    created_at=self.now,
                )
                for index in range(GPUS)
            ]  # fmt: skip

    async def _start(self, chance: random.Random) -> None:
        free = [gpu for gpu in self.gpu_ids if all(gpu not in held for held in self.running.values())]
        if not free:
            return
        taken = free[: chance.randint(1, len(free))]
        async with self.database.write() as tx:
            job_id = await _made(
                tx, jobs, cluster_id=self.cluster_id, tenant_id=self.tenant_id, name="job",
                gpu_count=len(taken), priority=5, status="queued", on_node_loss="fail", requeues=0,
                submitted_at=self.now, time_limit_min=chance.choice([None, None, 45]),
            )  # fmt: skip
            waiting = QueuedJob(
                5, self.now.timestamp(), job_id, self.cluster_id, None, len(taken), self.tenant_id, None
            )
            share = NodeShare(node_id=self.node_id, gpu_ids=taken)
            begun = await start(
                tx, [Start(job=waiting, family=self.family, shares=(share,))], self.now, "test"
            )
            assert begun == [job_id]
        self.running[job_id] = taken

    async def _end(self, chance: random.Random, *, at: datetime | None = None) -> None:
        if not self.running:
            return
        job_id = chance.choice(sorted(self.running))
        async with self.database.write() as tx:
            await end_job(tx, [job_id], JobStatus.COMPLETED, at or self.now, None, "test", self.now)
        del self.running[job_id]

    async def _lose(self, chance: random.Random) -> None:
        """The node was last heard a while ago, and that is where its job ended."""
        async with self.database.read() as tx:
            heard = await tx.scalar(select(nodes.c.last_heartbeat_at).where(nodes.c.id == self.node_id))
        await self._end(chance, at=heard)

    async def _price(self, chance: random.Random, *, tenant_id: int | None = None) -> None:
        body = RateSet(rate_per_hour=Decimal(chance.randint(0, 9_999_999)).scaleb(-6), tenant_id=tenant_id)
        if tenant_id is not None and chance.random() < 0.3:
            body = RateSet(rate_per_hour=None, tenant_id=tenant_id)
        async with self.database.write() as tx:
            try:
                await rates.set_rate(self._context(tx), self.family, body)
            except GPUForgeError:
                assert body.rate_per_hour is None  # there was none to take away

    async def _own_price(self, chance: random.Random) -> None:
        await self._price(chance, tenant_id=self.tenant_id)

    async def _meter(self, _chance: random.Random) -> None:
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        async with self.database.write() as tx:
            await metering.meter_ended(tx, self.now)
            await metering.meter_running(tx, self.now, to=midnight, tenant_id=self.tenant_id)

    async def _invoice(self, chance: random.Random) -> None:
        query = InvoiceQuery(days=chance.choice([1, 7, 90]))
        try:
            async with self.database.write() as tx:
                await drafts.create_invoice(self._context(tx), self.tenant_id, query)
        except Invalid as error:
            if error.code != "nothing_to_bill":
                raise

    async def _pay(self, chance: random.Random) -> None:
        async with self.database.write() as tx:
            if unpaid := await self._pending(tx):
                body = InvoiceStatusUpdate(status="paid")
                await invoices.set_status(self._context(tx), chance.choice(unpaid), body)

    async def _void(self, chance: random.Random) -> None:
        async with self.database.write() as tx:
            if unpaid := await self._pending(tx):
                await invoices.void_invoice(
                    self._context(tx), chance.choice(unpaid), InvoiceVoid(reason="test")
                )

    async def _pending(self, tx: Connection) -> list[int]:
        mine = invoices_table.c.tenant_id == self.tenant_id
        query = select(invoices_table.c.id).where(mine, invoices_table.c.status == "pending")
        return list((await tx.execute(query)).scalars())

    async def _step(self, chance: random.Random) -> None:
        self.now += timedelta(hours=chance.choice([-1, 1]))

    async def _wait(self, chance: random.Random) -> None:
        """Time passes, and most of the time the node is heard."""
        self.now += timedelta(microseconds=chance.choice([1, 999_999, 61_000_001, 5 * 3600 * 10**6, 10**11]))
        if chance.random() < 0.8:
            async with self.database.write() as tx:
                await tx.execute(
                    update(nodes).where(nodes.c.id == self.node_id).values(last_heartbeat_at=self.now)
                )

    async def _crash(self, thing: Callable[[random.Random], Awaitable[None]], chance: random.Random) -> None:
        """The same, but the process dies at some statement: nothing of it may remain."""
        running = {job: list(held) for job, held in self.running.items()}
        try:
            with _dying_at(self.database, chance.randint(1, 12)):
                await thing(chance)
        except Crash:
            self.running = running
            self.story[-1] += " (crashed)"

    def _context(self, tx: Connection) -> Context:
        return Context(
            tx=tx, principal=_OPERATOR, now=self.now, request_id="test", retention=timedelta(days=1)
        )


async def totals(database: Database, tenant_id: int, now: datetime) -> int:
    """What the usage answer says of the last 90 days, in cents."""
    async with database.read() as tx:
        ctx = Context(tx=tx, principal=_OPERATOR, now=now, request_id="test", retention=timedelta(days=1))
        return int((await usage.revenue(ctx, DaysQuery(days=90)))["total_revenue_cents"])


@contextmanager
def _dying_at(database: Database, statement: int) -> Iterator[None]:
    left = statement

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash

    engine = database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", count)


async def _made(tx: Connection, table: Any, **values: Any) -> int:
    return int((await tx.execute(table.insert().values(**values).returning(table.c.id))).scalar_one())


def _second(moment: datetime) -> int:
    """Another way to whole seconds than the product's."""
    return int((moment - _EPOCH).total_seconds() // 1)


def _compare_seconds(held: Sequence[Any], ledger: Sequence[Any]) -> None:
    """Metered = allocated, of every allocation, in rows that neither overlap nor leave a gap."""
    for allocation in held:
        rows = sorted(
            (row for row in ledger if row.allocation_id == allocation.id), key=lambda row: row.started_at
        )
        begin, end = _second(allocation.started_at), _second(allocation.ended_at)
        assert sum(row.gpu_seconds for row in rows) == end - begin
        edges = [begin, *(_second(row.ended_at) for row in rows)]
        assert [_second(row.started_at) for row in rows] == edges[:-1]
        assert edges[-1] == end
        assert allocation.settled


def _see_no_second_twice(ledger: Sequence[Any]) -> None:
    """However the clock was set back: a GPU's second is in the ledger once."""
    by_gpu = sorted(ledger, key=lambda row: (row.gpu_id, row.started_at, row.ended_at))
    for before, after in pairwise(by_gpu):
        assert before.gpu_id != after.gpu_id or before.ended_at <= after.started_at


def _compare_costs(held: Sequence[Any], ledger: Sequence[Any], versions: Sequence[Any]) -> None:
    """Second by second where a price changes, by fractions: no cent more, no cent less."""
    expected: Fraction = Fraction(0)
    for allocation in held:
        begin, end = _second(allocation.started_at), _second(allocation.ended_at)
        edges = sorted({begin, end, *(s for v in versions if begin < (s := _second(v.effective_from)) < end)})
        for first, stop in pairwise(edges):
            price = _price_at(versions, allocation.tenant_id, first)
            expected += Fraction((price or 0) * (stop - first), 3600)
    prices = {version.id: version.price_micros for version in versions}
    metered = sum(
        (Fraction(row.gpu_seconds * prices[row.rate_id], 3600) for row in ledger if row.rate_id is not None),
        Fraction(0),
    )
    assert metered == expected


def _price_at(versions: Sequence[Any], tenant_id: int, second: int) -> int | None:
    def last(owner: int | None) -> Any:
        own = [v for v in versions if v.tenant_id == owner and _second(v.effective_from) <= second]
        return max(own, key=lambda v: (v.effective_from, v.id), default=None)

    own, listed = last(tenant_id), last(None)
    if own is not None and own.price_micros is not None:
        return int(own.price_micros)
    return None if listed is None else int(listed.price_micros)


def _half_up(exact: Fraction) -> int:
    return int(exact + Fraction(1, 2))
