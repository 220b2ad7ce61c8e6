"""A fleet started at once: requests a second while it registers, and how the control plane stands it.

    python -m tests.bench.coldstart [--agents 12500] [--real 1000]

First `--real` agents' own registration and delivery against a real control plane, all within the spread of
`--agents` shrunk alike: the same arrivals a second. Then all of them in simulated time, on a model that takes
as long for a request as the real one took of its processor. The agents' side is the agent's own code and
arithmetic: spread_s, the rests of a registration, patience_s, a request's time limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import logging
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from gpuforge_agent.app import REQUEST_TIMEOUT_S, spread_s
from gpuforge_agent.host import Host
from gpuforge_agent.identity import EASY_S, Identity, rest_s
from gpuforge_agent.push import Pusher, patience_s
from gpuforge_agent.sources.base import GpuIdentity, Inventory
from gpuforge_agent.spool import MemorySpool, Sample
from gpuforge_client.failures import Answer, ControlPlaneUnreachable
from gpuforge_client.rest import RestClient, _Request
from gpuforge_client.retry import ONCE, REAL
from gpuforge_controlplane.api.traffic import BACK_WITHIN_S, MOST
from gpuforge_shared.clock import utc_now
from gpuforge_shared.errors import Unavailable
from tests.bench.faulty import Api
from tests.bench.server import Server, serving

PUSH_S, BEAT_S, REPORT_S = 10.0, 30.0, 60.0
REGISTRATION = 3  # requests, and then the first samples
TIMED_OUT = ControlPlaneUnreachable("", sent=True)
TURNED_AWAY_S = 0.0002  # of the processor, for a request that is told to come back


@dataclass
class Seen:
    """Requests by the second in which they were made, and how long answers took."""

    began: float = 0.0
    requests: Counter[int] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    failed: int = 0
    sent_away: int = 0
    registered_at: list[float] = field(default_factory=list)

    def line(self) -> str:
        """All of it in words."""
        minute = [self.requests[second] for second in range(60)]
        by_five = " ".join(str(sum(minute[at : at + 5]) // 5) for at in range(0, 60, 5))
        took, registered = sorted(self.took), sorted(self.registered_at)
        total, half, last = sum(self.requests.values()), len(registered) // 2, len(registered) - 1
        done = (
            f"half after {registered[half]:.1f} s, all after {registered[last]:.1f} s" if registered else "-"
        )
        late = took[len(took) * 99 // 100]
        lost = f"{self.failed:,} timed out, {self.sent_away:,} were told to come back"
        lines = (
            f"requests a second over the first minute, by five seconds: {by_five}",
            f"{max(self.requests.values()):,} in the busiest second; of {total:,} {lost}",
            f"answers: {statistics.median(took):.3f} s (median), {late:.2f} s (99 %), {took[-1]:.2f} s (all)",
            f"{len(registered):,} registered, {done}",
        )
        return "\n".join(f"  {line}" for line in lines)


class Counted(RestClient):
    """Notes every request."""

    seen: Seen

    async def _send(self, request: _Request) -> Answer:
        began = time.monotonic()
        self.seen.requests[int(began - self.seen.began)] += 1
        try:
            return await super()._send(request)
        except ControlPlaneUnreachable:
            self.seen.failed += 1
            raise
        except Unavailable:
            self.seen.sent_away += 1
            raise
        finally:
            self.seen.took.append(time.monotonic() - began)


async def lag() -> float:
    """The longest that this process kept a timer waiting: so much of an answer's time may be its own."""
    worst = 0.0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            due = time.monotonic() + 0.05
            await asyncio.sleep(0.05)
            worst = max(worst, time.monotonic() - due)
    return worst


async def real(server: Server, key: str, agents: int, spread: float) -> tuple[Seen, float]:
    """So many agents, each registered and its first samples delivered; and the generator's own lag."""
    seen = Seen(began=time.monotonic())
    lagging = asyncio.create_task(lag())

    async def one(number: int, client: RestClient) -> None:
        hostname = f"gpu-{number:05}"
        cards = tuple(
            GpuIdentity(
                uuid=f"GPU-{number}-{at}", index=at, model="NVIDIA H100", vram_mb=81_559, pci_bus_id=None
            )
            for at in range(8)
        )
        host = Host(hostname=hostname, cpu_cores=128, ram_gb=1024, agent_version="0.1.0")
        identity, spool = Identity(client, host), MemorySpool(1_000)
        for ago in (5, 0):
            at = utc_now() - timedelta(seconds=ago)
            for card in cards:
                spool.append(Sample(uuid=card.uuid, recorded_at=at, utilization_pct=50.0))
        await asyncio.sleep(spread_s(hostname, spread))
        await Pusher(client, identity, spool, lambda: Inventory(gpus=cards), REAL).deliver()
        seen.registered_at.append(time.monotonic() - seen.began)

    async with contextlib.AsyncExitStack() as stack:
        url, clients = f"http://127.0.0.1:{server.port}", []
        for _ in range(agents // 50 + 1):  # a client opens a hundred connections at most
            client = Counted(url, key, timeout_s=REQUEST_TIMEOUT_S, retry=ONCE)
            client.seen = seen
            clients.append(await stack.enter_async_context(client))
        await asyncio.gather(*(one(number, clients[number % len(clients)]) for number in range(agents)))
    lagging.cancel()
    return seen, await lagging


def modelled(agents: int, cost_s: float, draw: random.Random, *, pacing: bool, horizon_s: float) -> Seen:
    """All agents on one server that takes `cost_s` for each request, in order; up to `horizon_s`."""
    seen, free_at = Seen(), 0.0
    done, tries = [0] * agents, [0] * agents  # requests of the registration that were answered
    due = [(spread_s(f"gpu-{number:05}", PUSH_S), number, "push") for number in range(agents)]
    heapq.heapify(due)
    while due[0][0] < horizon_s:
        now, number, what = heapq.heappop(due)
        seen.requests[int(now)] += 1
        if free_at - now > MOST * cost_s:
            seen.sent_away += 1
            seen.took.append(TURNED_AWAY_S)
            wait = patience_s(Unavailable("", retry_after=draw.uniform(*BACK_WITHIN_S)), 1, draw.random())
            free_at += TURNED_AWAY_S
            heapq.heappush(due, (now + (wait or 0.0), number, what))
            continue
        free_at = max(free_at, now) + cost_s
        took = free_at - now
        seen.took.append(min(took, REQUEST_TIMEOUT_S))
        if took > REQUEST_TIMEOUT_S:  # the server works it off all the same
            seen.failed += 1
            done[number] = done[number] if done[number] > REGISTRATION else 0
            tries[number] += 1
            wait = patience_s(TIMED_OUT, tries[number], draw.random()) or 0.0
            heapq.heappush(due, (now + REQUEST_TIMEOUT_S + wait, number, what))
            continue
        tries[number] = 0
        if what != "push":
            heapq.heappush(due, (now + (BEAT_S if what == "beat" else REPORT_S), number, what))
        elif done[number] < REGISTRATION:
            done[number] += 1
            rest = rest_s(took, draw.random()) if pacing else 0.0
            heapq.heappush(due, (free_at + rest, number, what))
        else:
            if done[number] == REGISTRATION:
                done[number] += 1
                seen.registered_at.append(free_at)
                for other, period in (("beat", BEAT_S), ("report", REPORT_S)):
                    heapq.heappush(due, (free_at + draw.random() * period, number, other))
            heapq.heappush(due, (max(free_at, now + PUSH_S), number, what))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=12_500)
    parser.add_argument("--real", type=int, default=1_000, help="0: the model alone")
    parser.add_argument("--cost-ms", type=float, help="of a request, in the model; as measured unless given")
    asked = parser.parse_args()
    cost_ms = asked.cost_ms or 0.5
    if asked.real:
        with tempfile.TemporaryDirectory() as folder:
            cost_ms = asked.cost_ms or measured(Path(folder), asked.real, asked.agents)
    for pacing in (True, False):
        found = modelled(asked.agents, cost_ms / 1000, random.Random(1), pacing=pacing, horizon_s=600.0)
        words = "with" if pacing else "without"
        print(f"{asked.agents:,} agents modelled at {cost_ms:.2f} ms a request, {words} rests, 10 min")
        print(found.line())


def measured(folder: Path, agents: int, whole: int) -> float:
    """Let so many real agents start; milliseconds that one of their requests took of the processor."""
    with serving(f"sqlite+aiosqlite:///{folder / 'bench.db'}", folder / "log") as server:
        key = Api(server).ask("POST", "/api/clusters", {"name": "bench"})["api_key"]
        before, spread = server.cpu_s(), PUSH_S * agents / whole
        logging.disable(logging.WARNING)  # each agent would say that it waits
        seen, late = asyncio.run(real(server, key, agents, spread))
        cost_ms = 1000 * (server.cpu_s() - before) / sum(seen.requests.values())
        print(
            f"{agents:,} real agents within {spread:.2f} s; the server: {server.rss_mib():.0f} MiB, "
            f"{cost_ms:.2f} ms of processor a request; an answer after {EASY_S} s calls for a rest; "
            f"the agents' own process lagged {late:.1f} s at most"
        )
        print(seen.line())
    return cost_ms


if __name__ == "__main__":
    main()
