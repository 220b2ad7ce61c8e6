"""An evaluation of all alert rules, and the executive KPIs over HTTP, on SQLite.

    python -m tests.bench.alerts [--gpus 10000 100000] [--requests 300]

Every GPU is held and reports; tenants by the hundred, two days of sums by the hour, rollups of half an hour.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from datetime import timedelta

import aiohttp
from sqlalchemy import update

from gpuforge_controlplane.domain.alerts import evaluate
from gpuforge_controlplane.domain.buckets import FIVE_MINUTES, settled_until
from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.services import watching
from gpuforge_controlplane.services.alerts import rules
from gpuforge_controlplane.storage import kpis, leases, rollups, schema, watch
from gpuforge_controlplane.storage.alert_schema import allocation_hours
from gpuforge_controlplane.storage.database import Database
from gpuforge_controlplane.storage.means import Lately
from gpuforge_controlplane.storage.rollup_schema import gpu_rollup_5m
from gpuforge_shared.clock import utc_now
from tests.bench.scheduler import GPUS_A_NODE, TENANTS, build, insert
from tests.bench.server import Server, on_fleets

LONG_AGO = timedelta(days=1)


async def furnish(database: Database, gpus: int) -> None:
    """A fleet that is held and reports."""
    await build(database, gpus // GPUS_A_NODE, 0, held=True)
    now = utc_now()
    used = {"utilization_pct": schema.gpus.c.id * 37 % 100, "status": "active", "temperature_c": 61.0}
    hours = [
        {"hour": kpis.hour_of(now) - timedelta(hours=ago), "tenant_id": tenant, "family": "H100"}
        | {"held_s": 100_000, "idle_s": 9_000, "idle_gpus": 1}
        for ago in range(48)
        for tenant in range(1, TENANTS + 1)
    ]
    async with database.write() as tx:
        await tx.execute(update(schema.gpus).values(recorded_at=now + LONG_AGO, **used))
        await tx.execute(update(schema.allocations).values(started_at=now - timedelta(hours=1)))
        await insert(tx, allocation_hours, hours)
        until = settled_until(now)
        await rollups.advance(tx, until)
        for back in range(1, 8):
            bucket = {"bucket": until - back * FIVE_MINUTES, "samples": 30, "utilization_n": 30}
            figures = {"utilization_sum": 1_500.0, "memory_n": 0, "temperature_n": 0, "power_n": 0}
            rows = [{**bucket, **figures, "gpu_id": gpu} for gpu in range(1, gpus + 1)]
            await insert(tx, gpu_rollup_5m, rows)


async def evaluations(database: Database, rounds: int) -> None:
    """CPU time of reading with all means, of judging, and of the whole as the loop does it: the first of ten
    looks reads the means, the others have them."""
    async with database.write() as tx:
        token = await leases.take(tx, "bench", timedelta(hours=1))
    assert token is not None
    load: list[float] = []
    judge: list[float] = []
    whole: list[float] = []
    lately = Lately()
    for _ in range(rounds):
        now = utc_now()
        began = time.process_time()
        async with database.read() as tx:
            known, watched = await rules(tx), await watch.load(tx, now, now - LONG_AGO)
        loaded = time.process_time()
        evaluate(known, watched, [], now.timestamp())
        judged = time.process_time()
        await watching.run_evaluation(
            database, utc_now, token, hearing_since=now - LONG_AGO, seconds=30, lately=lately
        )
        load.append(loaded - began)
        judge.append(judged - loaded)
        whole.append(time.process_time() - judged)
    print(f"  CPU: evaluate {_words(judge)}; load {_words(load)}; all of it, written: {_words(whole)}")


async def ask(server: Server, requests: int) -> None:
    """GET /api/dashboard/kpis, one after the other, as a dashboard does."""
    url = f"http://127.0.0.1:{server.port}/api/dashboard/kpis"
    took = []
    before = server.cpu_s()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.key}"}) as session:
        for _ in range(requests):
            began = time.perf_counter()
            async with session.get(url) as answer:
                assert answer.status == 200
                await answer.read()
            took.append(time.perf_counter() - began)
    ordered = sorted(took)
    p99 = 1000 * ordered[int(0.99 * (len(ordered) - 1))]
    cpu = 1000 * (server.cpu_s() - before) / requests  # what it costs whatever else the machine does
    print(
        f"  kpis over HTTP: p50 {1000 * statistics.median(took):.0f} ms, p99 {p99:.0f} ms, CPU {cpu:.0f} ms"
    )


def _words(seconds: Sequence[float]) -> str:
    return f"{1000 * statistics.median(seconds):,.0f} ms (max {1000 * max(seconds):,.0f})"


async def prepare(url: str, gpus: int) -> None:
    await migrate(url)
    database = Database(url)
    try:
        await furnish(database, gpus)
        await evaluations(database, 5)
    finally:
        await database.close()


if __name__ == "__main__":
    on_fleets(__doc__.splitlines()[0], prepare, ask, 300)
