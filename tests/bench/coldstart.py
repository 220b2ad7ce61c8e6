"""A fleet started at once: requests a second while it registers, and how the control plane stands it.

    python -m tests.bench.coldstart [--agents 12500] [--spread 10]

Every agent's own registration and first delivery, by the agent's own code, against a real control plane;
they start within the spread that agents draw from. All share one process beside the server: where that has
more to do than a core can, answers seem late that were not, so its lag is told. `--agents 4000 --spread
3.2` are as many arrivals a second, for as long as it keeps up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from gpuforge_agent.app import REQUEST_TIMEOUT_S, spread_s
from gpuforge_agent.host import Host
from gpuforge_agent.identity import Identity
from gpuforge_agent.push import Pusher
from gpuforge_agent.sample import Sample
from gpuforge_agent.sources.base import GpuIdentity, Inventory
from gpuforge_agent.spool import Spool
from gpuforge_client.failures import Answer, ControlPlaneUnreachable
from gpuforge_client.rest import RestClient, _Request
from gpuforge_client.retry import ONCE, REAL
from gpuforge_shared.clock import utc_now
from tests.bench.faulty import Api
from tests.bench.server import Server, serving

TELL_S = 10


@dataclass
class Seen:
    """Requests by the second in which they were made, and how long answers took."""

    began: float = 0.0
    requests: Counter[int] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    timed_out: int = 0
    sent_away: int = 0
    registered_at: list[float] = field(default_factory=list)
    lag_s: float = 0.0

    def now(self) -> float:
        """Seconds since the first agent may start."""
        return time.monotonic() - self.began

    def summary(self) -> str:
        """All of it in words."""
        minute = [self.requests[second] for second in range(60)]
        by_five = " ".join(str(sum(minute[at : at + 5]) // 5) for at in range(0, 60, 5))
        took, registered = sorted(self.took), sorted(self.registered_at)
        total, late = sum(self.requests.values()), took[len(took) * 99 // 100]
        half = registered[len(registered) // 2]
        lines = (
            f"requests a second over the first minute, by five seconds: {by_five}",
            f"{max(self.requests.values()):,} in the busiest second; {total:,} in all",
            f"{self.timed_out:,} timed out, {self.sent_away:,} were told to come back",
            f"answers: {statistics.median(took):.3f} s (median), {late:.2f} s (99 %), {took[-1]:.2f} s (all)",
            f"half registered after {half:.1f} s, all after {registered[-1]:.1f} s",
            f"the agents' own process lagged {self.lag_s:.1f} s at most",
        )
        return "\n".join(f"  {line}" for line in lines)


class Counted(RestClient):
    """Notes every request."""

    seen: Seen

    async def _send(self, request: _Request) -> Answer:
        began = time.monotonic()
        self.seen.requests[int(self.seen.now())] += 1
        try:
            answer = await super()._send(request)
        except ControlPlaneUnreachable:
            self.seen.timed_out += 1
            raise
        finally:
            self.seen.took.append(time.monotonic() - began)
        self.seen.sent_away += answer.status == 503
        return answer


async def start(number: int, client: Counted, spread: float) -> None:
    """One agent: its registration, and two samples of each GPU delivered."""
    hostname, inventory = f"gpu-{number:05}", Inventory(gpus=tuple(_card(number, at) for at in range(8)))
    host = Host(hostname=hostname, cpu_cores=128, ram_gb=1024, agent_version="0.1.0")
    identity, spool = Identity(client, host), Spool(1_000)
    for ago in (5, 0):
        at = utc_now() - timedelta(seconds=ago)
        for card in inventory.gpus:
            spool.append(Sample(uuid=card.uuid, recorded_at=at, utilization_pct=50.0))
    await asyncio.sleep(spread_s(hostname, spread) - client.seen.now())
    await Pusher(client, identity, spool, lambda: inventory, REAL).deliver()
    client.seen.registered_at.append(client.seen.now())


def _card(number: int, at: int) -> GpuIdentity:
    uuid = f"GPU-{number}-{at}"
    return GpuIdentity(uuid=uuid, index=at, model="NVIDIA H100", vram_mb=81_559, pci_bus_id=None)


async def run(server: Server, key: str, agents: int, spread: float) -> Seen:
    """All agents, until each has delivered; tells how far they are meanwhile."""
    seen = Seen()
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(agents // 50 + 1):  # a client opens a hundred connections at most
            client = Counted(f"http://127.0.0.1:{server.port}", key, timeout_s=REQUEST_TIMEOUT_S, retry=ONCE)
            client.seen = seen
            clients.append(await stack.enter_async_context(client))
        await stack.enter_async_context(_watched(server, seen))
        seen.began = time.monotonic()
        await asyncio.gather(
            *(start(number, clients[number % len(clients)], spread) for number in range(agents))
        )
    return seen


@contextlib.asynccontextmanager
async def _watched(server: Server, seen: Seen) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(watch) for watch in (_tell(server, seen), _note_lag(seen))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(server: Server, seen: Seen) -> None:
    while True:
        cpu, own = server.cpu_s(), time.process_time()
        await asyncio.sleep(TELL_S)
        print(
            f"  after {seen.now():4.0f} s: {len(seen.registered_at):,} registered; of a core the server "
            f"{(server.cpu_s() - cpu) / TELL_S:.2f}, the agents {(time.process_time() - own) / TELL_S:.2f}",
            flush=True,
        )


async def _note_lag(seen: Seen) -> None:
    while True:
        due = time.monotonic() + 0.05
        await asyncio.sleep(0.05)
        seen.lag_s = max(seen.lag_s, time.monotonic() - due)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=12_500)
    parser.add_argument("--spread", type=float, default=10.0, help="seconds; an agent's push interval")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)  # each agent would say that it waits
    with tempfile.TemporaryDirectory(prefix="gpuforge-bench-") as name:
        folder = Path(name)
        with serving(f"sqlite+aiosqlite:///{folder / 'bench.db'}", folder / "log") as server:
            key = Api(server).ask("POST", "/api/clusters", {"name": "bench"})["api_key"]
            print(f"{asked.agents:,} agents within {asked.spread:g} s")
            before = server.cpu_s()
            seen = asyncio.run(run(server, key, asked.agents, asked.spread))
            each = 1000 * (server.cpu_s() - before) / sum(seen.requests.values())
            print(seen.summary())
            print(f"  control plane: {each:.2f} ms of processor a request, {server.rss_mib():.0f} MiB")


if __name__ == "__main__":
    main()
