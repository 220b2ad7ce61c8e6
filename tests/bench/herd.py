"""A fleet's return after an outage, in simulated time: requests a second, how many refused, how long.

    python -m tests.bench.herd [--agents 12500] [--hours 1] [--samples-a-second 60000] [--rests 80]

The agents' side is the agent's own arithmetic: patience_s, PROBE, BATCH, rests. The control plane is a
model: one queue, so many samples a second, and 503 with Retry-After 2 while more than its BACKLOG waits.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from dataclasses import dataclass, field

from gpuforge_agent.push import AWAY, BATCH, LONGEST_REST_S, PROBE, RESTS, patience_s
from gpuforge_controlplane.services.ingest import BACKLOG
from gpuforge_shared.errors import Unavailable

REQUEST_COST_S = 0.0005  # what a request takes of the control plane, however small
LIVE = 8 / 5  # samples a second of a host with 8 GPUs
PUSH_S = 10.0
BUSY = Unavailable("", retry_after=2.0)


@dataclass(slots=True)
class Agent:
    """One host: when it was last even, what it still holds of the time before, its tries in a row."""

    held: float
    as_of: float = 0.0
    tries: int = 0
    limit: int = PROBE

    def waiting(self, now: float) -> int:
        """Samples in its queue."""
        return int(self.held + (now - self.as_of) * LIVE)


@dataclass(slots=True)
class Seen:
    """What the control plane saw, by second."""

    requests: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    even_at: list[float] = field(default_factory=list)  # when each agent held less than a batch
    most_waiting: int = 0  # samples, at the control plane


def returning(agents: int, outage_s: float, capacity: float, rests: float, draw: random.Random) -> Seen:
    """Let the control plane come back at 0, and follow all agents until each holds less than a batch."""
    fleet = [Agent(held=outage_s * LIVE) for _ in range(agents)]
    # long away, so each has a try somewhere in the longest wait
    due = [(draw.random() * AWAY.cap_s, number) for number in range(agents)]
    heapq.heapify(due)
    seen, free_at = Seen(), 0.0  # free_at: when all that was taken in is done
    while len(seen.even_at) < agents:
        now, number = heapq.heappop(due)
        agent, second = fleet[number], int(now)
        seen.requests[second] = seen.requests.get(second, 0) + 1
        waiting = int(max(0.0, free_at - now) * capacity)
        seen.most_waiting = max(seen.most_waiting, waiting)
        if waiting > BACKLOG:
            agent.tries, agent.limit = agent.tries + 1, PROBE
            seen.refused[second] = seen.refused.get(second, 0) + 1
            wait = patience_s(BUSY, agent.tries, draw.random())
            assert wait is not None
            heapq.heappush(due, (now + wait, number))
            continue
        sent = min(agent.limit, agent.waiting(now))
        agent.tries, agent.limit = 0, BATCH
        free_at = max(free_at, now) + REQUEST_COST_S + sent / capacity
        took = free_at - now
        seen.took.append(took)
        agent.held, agent.as_of = agent.waiting(now) - sent, now
        if agent.waiting(free_at) >= BATCH:
            heapq.heappush(due, (free_at + min(LONGEST_REST_S, 2 * draw.random() * rests * took), number))
        else:
            seen.even_at.append(free_at)  # from here on it delivers what it reads: none of our concern
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=12_500)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--samples-a-second", type=float, default=60_000)
    parser.add_argument("--rests", type=float, default=RESTS)
    asked = parser.parse_args()
    draw = random.Random(1)
    for rests in (asked.rests, 0.0):
        seen = returning(asked.agents, asked.hours * 3600, asked.samples_a_second, rests, draw)
        minute = [seen.requests.get(second, 0) for second in range(60)]
        total, refused = sum(seen.requests.values()), sum(seen.refused.values())
        held = asked.agents * asked.hours * 3600 * LIVE
        print(
            f"rests {rests:g}: {minute[0]} requests in the first second, {max(minute)} at most and "
            f"{statistics.mean(minute):.0f} on average over the first minute\n"
            f"  {refused:,} of {total:,} refused ({refused / total:.1%}), most waiting there "
            f"{seen.most_waiting:,} samples, an answer took {statistics.median(seen.took):.2f} s (median), "
            f"{max(seen.took):.2f} s at most\n"
            f"  all even after {max(seen.even_at) / 60:.1f} min, half after "
            f"{statistics.median(seen.even_at) / 60:.1f} min; the model needs "
            f"{held / asked.samples_a_second / 60:.1f} min for what was held alone"
        )


if __name__ == "__main__":
    main()
