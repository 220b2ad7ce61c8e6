"""What a fleet's agents cost the control plane: processor time of each kind of request, and of all of it.

    python -m tests.bench.agents [--nodes 1250] [--seconds 8] [--connections 64] [--database-url URL]

Heartbeats, health reports and samples as agents of eight GPUs send them, each kind alone and as fast as it is
answered; then what 12,500 such nodes send at their default periods, in cores of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench.ingest import GPUS_A_NODE, body, register
from tests.bench.server import Request, Server, hammer, serving

FLEET = 12_500
BEAT_S, REPORT_S, PUSH_S = 30.0, 60.0, 10.0  # the agent's defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of request and how often an agent sends it."""

    name: str
    period_s: float
    request: Callable[[int, Sequence[int]], Request]  # of a node: its number from 0, its GPUs' ids


def heartbeat(node: int, gpu_ids: Sequence[int]) -> Request:
    """What a node tells every half minute."""
    told = {"total_gpus": len(gpu_ids), "cpu_cores": 128, "ram_gb": 1024, "agent_version": "0.1.0"}
    queue = {"clock_offset_s": 0.001, "queued_samples": 0, "dropped_samples": 0}
    beat = {"cluster_id": 1, "hostname": f"node-{node:05}", **told, **queue}
    return "/api/clusters/nodes", msgspec.json.encode(beat)


def report(node: int, gpu_ids: Sequence[int]) -> Request:
    """A report with all that an H100 tells, and a process on each GPU."""
    zeros = (
        "ecc_volatile_corrected", "ecc_volatile_uncorrected", "ecc_aggregate_corrected",
        "ecc_aggregate_uncorrected", "rows_remapped_corrected", "rows_remapped_uncorrected", "pcie_replays",
        "nvlink_replay_errors", "nvlink_recovery_errors", "nvlink_crc_flit_errors", "nvlink_crc_data_errors",
    )  # fmt: skip
    clocks = {
        "clock_graphics_mhz": 1980,
        "clock_sm_mhz": 1980,
        "clock_memory_mhz": 2619,
        "clock_sm_max_mhz": 1980,
    }
    links = {"pcie_generation": 5, "pcie_generation_max": 5, "pcie_width": 16, "pcie_width_max": 16}
    states = {"remap_pending": False, "remap_failed": False, "recovery_action": "none", "mig_mode": False}
    health = {
        **clocks,
        **links,
        **states,
        **dict.fromkeys(zeros, 0),
        "throttle_reasons": [],
        "power_limit_w": 700,
    }
    process = {"pid": 4242, "kind": "compute", "name": "python3", "memory_mb": 71_000, "user": "acme"}
    gpus = [{"gpu_id": gpu, "health": health, "processes": [process], "xids": []} for gpu in gpu_ids]
    host = {
        "uptime_s": 1e6,
        "cpu_pct": 12.5,
        "load_1m": 8.1,
        "ram_used_mb": 90_000,
        "ram_total_mb": 1_048_576,
    }
    runs = [
        {"name": name, "period_s": 5, "duration_s": 0.01, "succeeded": True} for name in ("metrics", "health")
    ]
    told = {"host": host, "collectors": runs, "gpus": gpus}
    return f"/api/clusters/nodes/{node + 1}/health", msgspec.json.encode(told)


def samples(node: int, gpu_ids: Sequence[int]) -> Request:
    """Two samples of each GPU, as every ten seconds when one is taken every five."""
    return "/api/clusters/metrics", body(gpu_ids, times=2)


KINDS = (
    Kind(name="heartbeats", period_s=BEAT_S, request=heartbeat),
    Kind(name="health reports", period_s=REPORT_S, request=report),
    Kind(name="samples", period_s=PUSH_S, request=samples),
)


async def cost(
    server: Server, kind: Kind, nodes: Sequence[Sequence[int]], seconds: float, connections: int
) -> float:
    """Cores that the whole fleet's requests of this kind take; prints how it came to that."""
    made = [kind.request(number, gpus) for number, gpus in enumerate(nodes)]
    many = (kind.request(at, nodes[at]) for at in itertools.cycle(range(len(nodes))))
    # samples must differ, or they are duplicates; of the others a node's next is like its last
    requests = (
        itertools.islice(many, int(seconds * 3_000)) if kind.request is samples else itertools.cycle(made)
    )
    ready = list(requests) if kind.request is samples else requests
    cpu, began = server.cpu_s(), time.perf_counter()
    took = await hammer(server, iter(ready), began + seconds, connections)
    each = (server.cpu_s() - cpu) / len(took)
    cores = each * FLEET / kind.period_s
    print(
        f"| {kind.name} | {len(took) / (time.perf_counter() - began):,.0f} | {1000 * each:.2f} ms | "
        f"{1000 * statistics.median(took):.0f} ms | {FLEET / kind.period_s:,.0f} | {cores:.2f} |"
    )
    return cores


async def measure(server: Server, nodes: int, seconds: float, connections: int) -> None:
    """The table."""
    ids = await register(server, nodes)
    by_node = [ids[first : first + GPUS_A_NODE] for first in range(0, len(ids), GPUS_A_NODE)]
    print(f"{nodes:,} nodes, {connections} connections; a fleet of {FLEET:,} nodes")
    print("| what | a second | processor, each | p50 | the fleet: a second | cores |\n" + 6 * "|---" + "|")
    total = 0.0
    for kind in KINDS:
        total += await cost(server, kind, by_node, seconds, connections)
    print(f"all of it: {total:.2f} cores; control plane: {server.rss_mib():.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1_250)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--database-url", help="another database than a fresh SQLite file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as folder:
        url = asked.database_url or f"sqlite+aiosqlite:///{folder}/bench.db"
        with serving(url, Path(folder) / "log") as server:
            asyncio.run(measure(server, asked.nodes, asked.seconds, asked.connections))


if __name__ == "__main__":
    main()
