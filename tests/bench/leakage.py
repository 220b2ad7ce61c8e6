"""GET /api/dashboard/leakage over HTTP, on SQLite: a held fleet with a year of invoices behind it.

    python -m tests.bench.leakage [--gpus 10000 100000] [--requests 20]

Every GPU is held, a tenth of them idles; each tenant has twelve invoices that follow each other, and what was
metered of yesterday and today is on none.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime, timedelta

import aiohttp
from sqlalchemy import select, update

from gpuforge_controlplane.domain.pricing import cents_of
from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.services.watching import run_evaluation
from gpuforge_controlplane.storage import billing_schema as money
from gpuforge_controlplane.storage import leases, schema
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.rollup_schema import gpu_rollup_5m
from gpuforge_shared.clock import utc_now
from tests.bench.alerts import furnish
from tests.bench.scheduler import TENANTS, insert
from tests.bench.server import Server, on_fleets

DAY = timedelta(days=1)
MONTHS = 12
_DAY_S = 86_400


async def bill(tx: Connection, gpus: int, now: datetime) -> None:
    """A year of sums by day, invoices over all but the last day, and the ledger's rows of two days: of older
    ones, which nothing asks for, there are none."""
    query = select(money.rates.c.id, money.rates.c.price_micros).where(money.rates.c.family == "H100")
    rate_id, price = (await tx.execute(query)).one()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    a_day = gpus // TENANTS * _DAY_S
    tenants = range(1, TENANTS + 1)
    await insert(
        tx,
        money.usage_days,
        [
            {"day": today - ago * DAY, "tenant_id": tenant, "family": "H100", "rate_id": rate_id}
            | {"gpu_seconds": a_day}
            for tenant in tenants
            for ago in range(1, 30 * MONTHS + 2)
        ],
    )
    billed_to = today - DAY
    cents = cents_of(30 * a_day, price)
    numbers = [(tenant, month) for tenant in tenants for month in range(MONTHS)]
    sent = [
        {"id": number, "sequence": number, "tenant_id": tenant, "tenant_name": f"tenant {tenant}"}
        | {"period_start": billed_to - 30 * (month + 1) * DAY, "period_end": billed_to - 30 * month * DAY}
        | {"status": "paid", "currency": "USD", "total_cents": cents, "gpu_seconds": 30 * a_day}
        | {"issued_at": now, "due_at": now}
        for number, (tenant, month) in enumerate(numbers, 1)
    ]
    await insert(tx, money.invoices, sent)
    line = {"family": "H100", "rate_id": rate_id, "price_micros": price, "amount_cents": cents}
    lines = [{**line, "invoice_id": each["id"], "gpu_seconds": 30 * a_day} for each in sent]
    await insert(tx, money.invoice_lines, lines)
    for ago in (1, 2):
        begun = today - ago * DAY
        row = {"started_at": begun, "ended_at": begun + DAY, "gpu_seconds": _DAY_S, "metered_at": now}
        row |= {"family": "H100", "rate_id": rate_id}
        await insert(
            tx,
            money.usage_events,
            [
                {**row, "allocation_id": gpu, "job_id": 1, "gpu_id": gpu, "tenant_id": gpu % TENANTS + 1}
                | {"invoice_id": gpu % TENANTS * MONTHS + 1 if ago == 2 else None}
                for gpu in range(1, gpus + 1)
            ],
        )


async def prepare(url: str, gpus: int) -> None:
    await migrate(url)
    database = Database(url)
    try:
        await furnish(database, gpus)
        async with database.write() as tx:
            idle = update(gpu_rollup_5m).where(gpu_rollup_5m.c.gpu_id % 10 == 0)
            await tx.execute(idle.values(utilization_sum=30.0))
            await tx.execute(
                update(schema.allocations).values(tenant_id=schema.allocations.c.gpu_id % TENANTS + 1)
            )
            await bill(tx, gpus, utc_now())
            token = await leases.take(tx, "bench", timedelta(seconds=1))
        assert token is not None
        await run_evaluation(database, utc_now, token, hearing_since=utc_now() - DAY, seconds=30)
    finally:
        await database.close()


async def ask(server: Server, requests: int) -> None:
    """One after the other, as a dashboard does; the first apart."""
    url = f"http://127.0.0.1:{server.port}/api/dashboard/leakage"
    took = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.key}"}) as session:
        for number in range(requests + 1):
            if number == 1:
                before = server.cpu_s()
            began = time.perf_counter()
            async with session.get(url) as answer:
                assert answer.status == 200
                told = await answer.json()
            took.append(time.perf_counter() - began)
    cpu = 1000 * (server.cpu_s() - before) / requests  # what it costs whatever else the machine does
    first, *others = took
    totals = told["totals"]
    print(
        f"  first {1000 * first:.0f} ms, then p50 {1000 * statistics.median(others):.0f} ms,"
        f" max {1000 * max(others):.0f} ms, CPU {cpu:.0f} ms; {totals['idle_gpus']:,} idle GPUs,"
        f" unbilled {totals['unbilled']}, {totals['flagged_tenants']} flagged"
    )


if __name__ == "__main__":
    on_fleets(__doc__.splitlines()[0], prepare, ask, 20)
