"""How fast telemetry becomes durable: HTTP to commit on SQLite, beside raw executemany on the same schema.

    python -m tests.bench.ingest [--seconds 10] [--connections 64] [--database-url URL]

One run, one machine, the load generator beside the server: read the ratios. The server answers after commit
with FULL sync; raw executemany commits the same number of rows a transaction, in one thread, without HTTP,
JSON, look-ups or the latest values.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path

import msgspec

from gpuforge_client.rest import RestClient
from gpuforge_shared.wire.fleet import ClusterCreated, GpuRecord, NodeRecord
from tests.bench.server import Server, hammer, serving

NODES, GPUS_A_NODE = 1_250, 8
_START = datetime.now(UTC)  # samples of just now, as agents send them: old ones have rollups to mend too
_ticks = iter(range(10**9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one load reached."""

    name: str
    requests_s: float
    samples_s: float
    p50_ms: float
    p99_ms: float
    server_cpu: float  # cores the server used


def body(gpu_ids: Sequence[int], times: int = 1) -> bytes:
    """A batch of so many samples of each GPU, each at a time of its own."""
    sample = {
        "utilization_pct": 87.3,
        "memory_used_mb": 71680,
        "memory_total_mb": 81920,
        "temperature_c": 72.1,
        "power_draw_w": 410.5,
    }
    moments = [_START + timedelta(microseconds=next(_ticks)) for _ in range(times)]
    told = [{"gpu_id": gpu_id, "recorded_at": at} | sample for at in moments for gpu_id in gpu_ids]
    return msgspec.json.encode({"metrics": told})


async def load(
    server: Server, name: str, batches: Sequence[Sequence[int]], seconds: float, connections: int
) -> Rate:
    """Keep `connections` requests in flight for `seconds`."""
    size = len(batches[0])
    # Bodies are made beforehand: the generator shares two cores with the server.
    planned = max(connections, int(seconds * (8_000 if size < 100 else 400)))
    bodies = [body(batches[index % len(batches)]) for index in range(planned)]
    cpu, began = server.cpu_s(), time.perf_counter()
    took = await hammer(server, zip(repeat("/api/clusters/metrics"), bodies), began + seconds, connections)
    elapsed = time.perf_counter() - began
    ranks = statistics.quantiles(took, n=100)
    return Rate(
        name=name,
        requests_s=len(took) / elapsed,
        samples_s=len(took) * size / elapsed,
        p50_ms=1000 * ranks[49],
        p99_ms=1000 * ranks[98],
        server_cpu=(server.cpu_s() - cpu) / elapsed,
    )


def raw_rate(folder: Path, rows_a_transaction: int, seconds: float) -> float:
    """Samples/s of one thread that only calls executemany and commits, FULL sync, on the same table."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS gpu_metrics (recorded_at BIGINT, gpu_id INTEGER, utilization_pct FLOAT,"
        " memory_used_mb BIGINT, memory_total_mb BIGINT, temperature_c FLOAT, power_draw_w FLOAT,"
        " PRIMARY KEY (recorded_at, gpu_id)) WITHOUT ROWID"
    )
    began, stored = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        tick = next(_ticks)
        rows = [(tick, gpu_id, 87.3, 71680, 81920, 72.1, 410.5) for gpu_id in range(rows_a_transaction)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO gpu_metrics VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        stored += rows_a_transaction
    elapsed = time.perf_counter() - began
    connection.close()
    return stored / elapsed


async def register(server: Server, nodes: int = NODES) -> list[int]:
    """A fleet to send for; the ids of its GPUs."""
    ids: list[int] = []
    async with RestClient(f"http://127.0.0.1:{server.port}", server.key) as client:
        cluster = await client.post("/api/clusters", ClusterCreated, body={"name": f"bench {time.time_ns()}"})
        for number in range(nodes):
            node = await client.post(
                "/api/clusters/nodes",
                NodeRecord,
                body={"cluster_id": cluster["id"], "hostname": f"node-{number:05}"},
            )
            gpus = [{"model": "NVIDIA H100 80GB HBM3", "vram_mb": 81_559} for _ in range(GPUS_A_NODE)]
            made = await client.post(
                "/api/clusters/gpus", list[GpuRecord], body={"node_id": node["id"], "gpus": gpus}
            )
            ids += [gpu["id"] for gpu in made]
    return ids


async def measure(server: Server, seconds: float, connections: int) -> list[Rate]:
    """Both loads of the design: one node a request, and 1,000 samples a request."""
    gpu_ids = await register(server)
    nodes = [gpu_ids[first : first + 8] for first in range(0, len(gpu_ids), 8)]
    thousands = [gpu_ids[first : first + 1_000] for first in range(0, len(gpu_ids), 1_000)]
    return [
        await load(server, "8-metric bodies", nodes, seconds, connections),
        await load(server, "1,000-metric bodies", thousands, seconds, min(8, connections)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--database-url", help="another database than a fresh SQLite file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as name:
        folder = Path(name)
        url = asked.database_url or f"sqlite+aiosqlite:///{folder}/bench.db"
        with serving(url, folder / "log") as server:
            rates = asyncio.run(measure(server, asked.seconds, asked.connections))
            print(f"control plane: {server.rss_mib():.0f} MiB resident after the load")
        raw = {size: raw_rate(folder, size, asked.seconds / 2) for size in (8, 1_000, 10_000)}
    for size, reached in raw.items():
        print(f"raw executemany, {size:>6,} rows a transaction: {reached:>9,.0f} samples/s")
    for rate in rates:
        print(
            f"{rate.name:<20} {rate.requests_s:>7,.0f} requests/s  {rate.samples_s:>9,.0f} samples/s  "
            f"p50 {rate.p50_ms:.1f} ms  p99 {rate.p99_ms:.1f} ms  server {rate.server_cpu:.2f} cores  "
            f"{rate.samples_s / raw[10_000]:.2f} of raw"
        )


if __name__ == "__main__":
    main()
