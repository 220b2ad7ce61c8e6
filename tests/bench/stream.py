"""What live streams cost the control plane: readers of a fleet whose GPUs report every ten seconds.

    python -m tests.bench.stream [--gpus 10000] [--readers 200] [--seconds 20]

The server's share of a core is measured, with the readers and without; telemetry goes on beside it in both,
as it would. Readers take the bytes and look at nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import msgspec

from gpuforge_controlplane.migrations import migrate
from gpuforge_controlplane.storage.database import Database
from tests.bench.scheduler import GPUS_A_NODE, build
from tests.bench.server import Server, hammer, serving

REPORT_S = 10.0


@dataclass(slots=True)
class Taken:
    """What one reader got."""

    bytes: int = 0
    frames: list[float] = field(default_factory=list)  # when each came
    first_s: float = 0.0  # from asking to the first frame


async def reader(server: Server, taken: Taken, until: float) -> None:
    """Read a stream until then."""
    began = time.perf_counter()
    incoming, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**24)
    writer.write(
        f"GET /api/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {server.key}\r\n\r\n".encode()
    )
    while (left := until - time.perf_counter()) > 0:
        try:
            async with asyncio.timeout(left):
                raw = await incoming.read(2**20)
        except TimeoutError:
            break
        if not raw:
            raise SystemExit("the stream ended")
        taken.bytes += len(raw)
        now = time.perf_counter()
        taken.frames += [now] * raw.count(b"event: frame\n")
        if taken.frames and not taken.first_s:
            taken.first_s = now - began
    writer.close()


async def telemetry(server: Server, gpus: int, until: float) -> None:
    """A sample of every GPU each ten seconds, a node a request, evenly spread."""
    nodes = [range(first, first + GPUS_A_NODE) for first in range(1, gpus + 1, GPUS_A_NODE)]
    while time.perf_counter() < until:
        began = time.perf_counter()
        slices = 50
        for part in range(slices):
            bodies = iter([_body(node) for node in nodes[part::slices]])
            await hammer(server, zip(repeat("/api/clusters/metrics"), bodies), until, 4)
            await asyncio.sleep(max(0.0, began + REPORT_S * (part + 1) / slices - time.perf_counter()))
            if time.perf_counter() >= until:
                return


def _body(gpu_ids: range) -> bytes:
    sample = {
        "utilization_pct": 87.3,
        "memory_used_mb": 71680,
        "memory_total_mb": 81920,
        "power_draw_w": 410.5,
    }
    return msgspec.json.encode({"metrics": [{"gpu_id": gpu_id} | sample for gpu_id in gpu_ids]})


async def share(server: Server, gpus: int, readers: int, seconds: float) -> tuple[float, list[Taken]]:
    """The server's share of a core with so many readers, and what these got."""
    taken = [Taken() for _ in range(readers)]
    until = time.perf_counter() + seconds + 2
    reading = [asyncio.create_task(reader(server, each, until)) for each in taken]
    sending = asyncio.create_task(telemetry(server, gpus, until))
    await asyncio.sleep(2)  # beyond the snapshots
    cpu, began = server.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds - 1)
    used = (server.cpu_s() - cpu) / (time.perf_counter() - began)
    await asyncio.gather(sending, *reading)
    return used, taken


async def measure(server: Server, gpus: int, readers: int, seconds: float) -> None:
    """Print the shares and what the readers got."""
    alone, _ = await share(server, gpus, 0, seconds)
    print(f"telemetry alone: {100 * alone:.1f} % of a core")
    for count in (1, readers):
        used, taken = await share(server, gpus, count, seconds)
        gaps = [b - a for each in taken for a, b in zip(each.frames, each.frames[1:], strict=False)]
        print(
            f"{count} readers of {gpus:,} GPUs: {100 * (used - alone):.1f} % of a core more; a reader gets"
            f" {sum(each.bytes for each in taken) / count / (seconds + 2) / 1024:.0f} KiB/s,"
            f" a frame each {statistics.median(gaps):.2f} s (longest gap {max(gaps):.2f} s),"
            f" the first after {1000 * statistics.median(each.first_s for each in taken):.0f} ms"
        )
    print(f"control plane: {server.rss_mib():.0f} MiB resident")


async def prepare(url: str, gpus: int) -> None:
    await migrate(url)
    database = Database(url)
    await build(database, gpus // GPUS_A_NODE, 0, held=True)
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as name:
        url = f"sqlite+aiosqlite:///{name}/bench.db"
        asyncio.run(prepare(url, asked.gpus))
        with serving(url, Path(name, "log")) as server:
            asyncio.run(measure(server, asked.gpus, asked.readers, asked.seconds))


if __name__ == "__main__":
    main()
