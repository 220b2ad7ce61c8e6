"""A burst of one-GPU jobs on an empty fleet: from HTTP POST to running.

    python -m tests.bench.burst [--nodes 12500] [--jobs 10000] [--connections 64]

Everything is real: requests over loopback, commits, the scheduler's own loop. The load generator shares the
machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from itertools import repeat
from pathlib import Path

import msgspec

from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.storage.database import Database
from tests.bench.scheduler import build
from tests.bench.server import Server, hammer, serving


async def prepare(url: str, nodes: int) -> None:
    """An empty fleet."""
    await migrate(url)
    database = Database(url)
    await build(database, nodes, 0, held=False)
    await database.close()


async def burst(server: Server, file: Path, jobs: int, connections: int) -> None:
    """Submit, wait until the last job runs, and say how fast that was."""
    bodies = [
        msgspec.json.encode({"cluster_id": 1, "name": f"job {number}", "estimated_duration_min": 60})
        for number in range(jobs)
    ]
    cpu, began = server.cpu_s(), time.perf_counter()
    took = await hammer(server, zip(repeat("/api/jobs"), bodies), began + 60, connections)
    submitted = time.perf_counter() - began
    await asyncio.wait_for(asyncio.to_thread(until_running, file, jobs), 60)
    elapsed = time.perf_counter() - began
    ranks = statistics.quantiles(took, n=100)
    print(
        f"submitted {jobs:,} jobs in {submitted:.2f} s: {jobs / submitted:,.0f} jobs/s, "
        f"p50 {1000 * ranks[49]:.1f} ms, p99 {1000 * ranks[98]:.1f} ms"
    )
    print(f"all running after {elapsed:.2f} s: {jobs / elapsed:,.0f} jobs/s from POST to running")
    print(f"server: {(server.cpu_s() - cpu) / elapsed:.2f} cores, {server.rss_mib():.0f} MiB")


def until_running(file: Path, jobs: int) -> None:
    """Return once so many jobs run."""
    while running(file) < jobs:
        time.sleep(0.02)


def running(file: Path) -> int:
    """Jobs that run, read beside the server."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        found: int = connection.execute("SELECT count(*) FROM jobs WHERE status = 'running'").fetchone()[0]
    finally:
        connection.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=12_500)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as name:
        file = Path(name, "bench.db")
        url = f"sqlite+aiosqlite:///{file}"
        asyncio.run(prepare(url, asked.nodes))
        with serving(url, Path(name, "log")) as server:
            asyncio.run(burst(server, file, asked.jobs, asked.connections))


if __name__ == "__main__":
    main()
