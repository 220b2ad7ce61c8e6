"""A whole scheduler cycle, load and store included, on SQLite.

    python -m tests.bench.scheduler [--nodes 12500] [--jobs 100000] [--burst 8000]

Steady: every GPU is held, the queue waits, nothing starts. Burst: an empty fleet and 8,000 one-GPU jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Table

from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.domain.scheduler import plan
from gpuforge_controlplane.domain.snapshot import snapshot_of
from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.services import scheduling
from gpuforge_controlplane.storage import leases, schema, snapshots
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_shared.clock import utc_now

GPUS_A_NODE = 8
TENANTS = 200
_NOW = datetime.now(UTC)


async def insert(tx: Connection, table: Table, rows: Sequence[dict[str, object]]) -> None:
    """Many rows, 10,000 at a time."""
    for first in range(0, len(rows), 10_000):
        await tx.execute(table.insert(), rows[first : first + 10_000])


async def build(database: Database, nodes: int, jobs: int, *, held: bool) -> None:
    """One cluster of `nodes` of 8 GPUs, `jobs` waiting, and, where `held`, a running job on each node."""
    async with database.write() as tx:
        await insert(tx, schema.clusters, [{"id": 1, "name": "bench", "created_at": _NOW}])
        await insert(tx, schema.tenants, [_tenant(number) for number in range(1, TENANTS + 1)])
        await insert(tx, schema.nodes, [_node(number) for number in range(1, nodes + 1)])
        await insert(tx, schema.gpus, [_gpu(number) for number in range(1, nodes * GPUS_A_NODE + 1)])
        first = 1
        if held:
            await insert(tx, schema.jobs, [_job(number, 8, "running") for number in range(1, nodes + 1)])
            await insert(tx, schema.allocations, [_held(gpu) for gpu in range(1, nodes * GPUS_A_NODE + 1)])
            first = nodes + 1
        sizes = (1, 2, 4, 8, 16, 32) if held else (1,)
        waiting = [_job(first + at, sizes[at % len(sizes)], "queued") for at in range(jobs)]
        await insert(tx, schema.jobs, waiting)


def _tenant(number: int) -> dict[str, object]:
    return {
        "id": number,
        "name": f"tenant {number}",
        "gpu_quota": 10**6,
        "plan_tier": "pro",
        "status": "active",
        "created_at": _NOW,
    }


def _node(number: int) -> dict[str, object]:
    soon = _NOW + timedelta(days=1)  # fresh for as long as the measurement runs
    return {
        "id": number,
        "cluster_id": 1,
        "hostname": f"node-{number:05}",
        "state": "active",
        "last_heartbeat_at": soon,
        "created_at": _NOW,
    }


def _gpu(number: int) -> dict[str, object]:
    return {
        "id": number,
        "node_id": (number - 1) // GPUS_A_NODE + 1,
        "gpu_index": (number - 1) % GPUS_A_NODE,
        "model": "NVIDIA H100 80GB HBM3",
        "status": "idle",
        "created_at": _NOW,
    }


def _job(number: int, gpus: int, status: str) -> dict[str, object]:
    return {
        "id": number,
        "cluster_id": 1,
        "tenant_id": number % TENANTS + 1,
        "name": f"job {number}",
        "gpu_count": gpus,
        "family": "H100",
        "priority": number % 10 + 1,
        "status": status,
        "estimated_duration_min": 60 + number % 600,
        "on_node_loss": "requeue",
        "requeues": 0,
        "submitted_at": _NOW - timedelta(seconds=number % 86_400),
        "started_at": _NOW if status == "running" else None,
    }


def _held(gpu: int) -> dict[str, object]:
    node = (gpu - 1) // GPUS_A_NODE + 1
    return {
        "job_id": node,
        "gpu_id": gpu,
        "node_id": node,
        "family": "H100",
        "tenant_id": node % TENANTS + 1,
        "started_at": _NOW,
    }


async def cycles(database: Database, rounds: int) -> None:
    """Run cycles and say what each part took."""
    async with database.write() as tx:
        token = await leases.take(tx, "bench", timedelta(hours=1))
    assert token is not None
    whole: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        decided = await scheduling.run_cycle(database, utc_now, token)
        whole.append(time.perf_counter() - began)
    print(f"  cycle: {_words(whole)}; started {len(decided.starts)} of {decided.processed} in the last one")


async def parts(database: Database) -> None:
    """What reading, indexing and planning take by themselves."""
    load: list[float] = []
    index: list[float] = []
    decide: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        async with database.read() as tx:
            rows = await snapshots.load(tx, _NOW - OFFLINE_AFTER)
        loaded = time.perf_counter()
        snapshot = snapshot_of(*rows)
        indexed = time.perf_counter()
        plan(snapshot, _NOW.timestamp())
        load.append(loaded - began)
        index.append(indexed - loaded)
        decide.append(time.perf_counter() - indexed)
    print(f"  load {_words(load)}; snapshot_of {_words(index)}; plan {_words(decide)}")


def _words(seconds: Sequence[float]) -> str:
    return f"{1000 * statistics.median(seconds):,.0f} ms (max {1000 * max(seconds):,.0f})"


async def run(url: str, nodes: int, jobs: int, *, held: bool) -> None:
    """One scenario on a database of its own."""
    await migrate(url)
    database = Database(url)
    try:
        await build(database, nodes, jobs, held=held)
        await parts(database)
        await cycles(database, 3 if held else 1)
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=12_500)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--burst", type=int, default=8_000)
    asked = parser.parse_args()
    for held, jobs, name in ((True, asked.jobs, "steady"), (False, asked.burst, "burst")):
        print(f"{name}: {asked.nodes * GPUS_A_NODE:,} GPUs, {jobs:,} waiting jobs")
        with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as folder:
            url = f"sqlite+aiosqlite:///{folder}/bench.db"
            asyncio.run(run(url, asked.nodes, jobs, held=held))


if __name__ == "__main__":
    main()
