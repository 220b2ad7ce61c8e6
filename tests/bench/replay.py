"""Replays a job trace on simulated time and prints what each policy would have made of it.

    python -m tests.bench.replay TRACE.csv --nodes 96 --policy all --estimates off4

A trace is CSV with a header: `job_id,submit_s,duration_s,gpus`, or the longer form of the published slices
(`submit_time` in microseconds, `num_chips`, `tenant`). Lines that begin with `#` are provenance.
Time is event-driven: at every instant at which a job is submitted or ends, first all ends, then all
submissions of that instant are applied, and then the policy runs once.
"""

import argparse
import csv
import heapq
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuforge_controlplane.domain.placement import IdleNodes
from gpuforge_controlplane.domain.scheduler import plan
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob, snapshot_of

LARGE_GPUS = 32
FAMILY = "H100"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceJob:
    """One job of a trace; times in whole seconds."""

    id: int
    submit_s: int
    duration_s: int
    gpus: int
    estimate_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a policy made of a trace; seconds, and utilisation as a share of 1."""

    policy: str
    jobs: int
    mean_jct: float
    mean_wait: float
    max_wait: float
    mean_wait_large: float  # of jobs of 32 GPUs and more; NaN if there are none
    utilisation: float  # GPU-seconds run ÷ GPU-seconds there were, first submission to last end


# GPUs by node, as (node id, GPU ids).
Held = tuple[tuple[int, tuple[int, ...]], ...]
# A policy sees the time, the idle GPUs by node, who runs, and who waits in order of submission.
Running = dict[int, tuple[TraceJob, int, Held]]
Policy = Callable[[int, "Cluster", Running, Sequence[TraceJob]], list[tuple[TraceJob, Held]]]


class Cluster:
    """Equal nodes of one family."""

    def __init__(self, nodes: int, gpus_per_node: int) -> None:
        self.size = gpus_per_node
        self.idle: dict[int, tuple[int, ...]] = {
            node: tuple(range(node * gpus_per_node, (node + 1) * gpus_per_node)) for node in range(nodes)
        }

    def take(self, held: Held) -> None:
        for node, gpus in held:
            taken = set(gpus)
            left = tuple(gpu for gpu in self.idle[node] if gpu not in taken)
            assert len(left) + len(gpus) == len(self.idle[node]), "a GPU was given out twice"
            self.idle[node] = left

    def give_back(self, held: Held) -> None:
        for node, gpus in held:
            self.idle[node] = tuple(sorted(self.idle[node] + gpus))

    def buckets(self) -> IdleNodes:
        return IdleNodes((node, self.size, gpus) for node, gpus in self.idle.items())


def shipped(
    now: int, cluster: Cluster, running: Running, queue: Sequence[TraceJob]
) -> list[tuple[TraceJob, Held]]:
    """The policy that GPUForge ships: plan(), as the control plane calls it."""
    waiting = {job.id: job for job in queue}
    snapshot = snapshot_of(
        (Node(node, 1, FAMILY, cluster.size, True, gpus) for node, gpus in cluster.idle.items()),
        (),
        (_running(*entry) for entry in running.values()),
        (QueuedJob(5, job.submit_s, job.id, 1, FAMILY, job.gpus, None, job.estimate_s) for job in queue),
    )
    return [
        (waiting[start.job.id], tuple((share.node_id, tuple(share.gpu_ids)) for share in start.shares))
        for start in plan(snapshot, now).starts
    ]


def _running(job: TraceJob, started: int, held: Held) -> RunningJob:
    nodes = tuple((node, len(gpus)) for node, gpus in held)
    return RunningJob(job.id, None, 1, FAMILY, started, job.estimate_s, None, nodes)


def fifo(
    now: int, cluster: Cluster, running: Running, queue: Sequence[TraceJob]
) -> list[tuple[TraceJob, Held]]:
    """Strict FIFO: the first job that does not fit holds up all behind it."""
    return _until_one_fails(cluster, queue)


def sjf(
    now: int, cluster: Cluster, running: Running, queue: Sequence[TraceJob]
) -> list[tuple[TraceJob, Held]]:
    """Shortest job first with perfect knowledge; the first that does not fit holds up all behind it."""
    return _until_one_fails(cluster, sorted(queue, key=lambda job: (job.duration_s, job.submit_s, job.id)))


def skip_ahead(
    now: int, cluster: Cluster, running: Running, queue: Sequence[TraceJob]
) -> list[tuple[TraceJob, Held]]:
    """FIFO order, whoever fits starts: no reservation, so large jobs may starve."""
    idle = cluster.buckets()
    placed = ((job, _held(idle, job)) for job in queue)
    return [(job, held) for job, held in placed if held]


def _until_one_fails(cluster: Cluster, queue: Iterable[TraceJob]) -> list[tuple[TraceJob, Held]]:
    idle = cluster.buckets()
    placed: list[tuple[TraceJob, Held]] = []
    for job in queue:
        held = _held(idle, job)
        if not held:
            break
        placed.append((job, held))
    return placed


def _held(idle: IdleNodes, job: TraceJob) -> Held:
    return tuple((share.node_id, tuple(share.gpu_ids)) for share in idle.take(job.gpus, kept=False))


POLICIES: dict[str, Policy] = {"shipped": shipped, "fifo": fifo, "sjf": sjf, "skip-ahead": skip_ahead}


def replay(jobs: Sequence[TraceJob], policy: str, nodes: int, gpus_per_node: int = 8) -> Figures:
    """Run a trace to its last end. Every job must fit the empty cluster."""
    cluster = Cluster(nodes, gpus_per_node)
    started = {job.id: at for job, at in _starts(jobs, POLICIES[policy], cluster)}
    return _figures(policy, jobs, started, nodes * gpus_per_node)


def _starts(jobs: Sequence[TraceJob], policy: Policy, cluster: Cluster) -> Iterator[tuple[TraceJob, int]]:
    arrivals = sorted(jobs, key=_submitted)[::-1]
    ends: list[tuple[int, int]] = []
    running: Running = {}
    queue: dict[int, TraceJob] = {}  # in order of submission
    while arrivals or ends:
        now = min(arrivals[-1].submit_s if arrivals else math.inf, ends[0][0] if ends else math.inf)
        at = int(now)
        while ends and ends[0][0] == at:
            cluster.give_back(running.pop(heapq.heappop(ends)[1])[2])
        while arrivals and arrivals[-1].submit_s == at:
            job = arrivals.pop()
            queue[job.id] = job
        for job, held in policy(at, cluster, running, list(queue.values())) if queue else ():
            cluster.take(held)
            running[job.id] = (job, at, held)
            heapq.heappush(ends, (at + job.duration_s, job.id))
            del queue[job.id]
            yield job, at


def _submitted(job: TraceJob) -> tuple[int, int]:
    return job.submit_s, job.id


def _figures(policy: str, jobs: Sequence[TraceJob], started: dict[int, int], gpus: int) -> Figures:
    waits = [started[job.id] - job.submit_s for job in jobs]
    large = [wait for job, wait in zip(jobs, waits, strict=True) if job.gpus >= LARGE_GPUS]
    last_end = max(started[job.id] + job.duration_s for job in jobs)
    span = last_end - min(job.submit_s for job in jobs)
    return Figures(
        policy=policy,
        jobs=len(jobs),
        mean_jct=(sum(waits) + sum(job.duration_s for job in jobs)) / len(jobs),
        mean_wait=sum(waits) / len(jobs),
        max_wait=max(waits),
        mean_wait_large=sum(large) / len(large) if large else math.nan,
        utilisation=sum(job.duration_s * job.gpus for job in jobs) / (span * gpus) if span else 0.0,
    )


def with_estimates(jobs: Iterable[TraceJob], kind: str) -> list[TraceJob]:
    """Give jobs, in order of submission, the estimates a user would have given.

    `off4`: duration times loguniform(¼, 4), rounded up to 5 min; `perfect`: the duration; `none`: nothing.
    """
    dice = random.Random(1)
    models: dict[str, Callable[[TraceJob], int | None]] = {
        "off4": lambda job: _rounded_up(job.duration_s * math.exp(dice.uniform(-math.log(4), math.log(4)))),
        "perfect": lambda job: job.duration_s,
        "none": lambda job: None,
    }
    estimate = models[kind]
    in_order = sorted(jobs, key=_submitted)
    return [
        TraceJob(
            id=job.id,
            submit_s=job.submit_s,
            duration_s=job.duration_s,
            gpus=job.gpus,
            estimate_s=estimate(job),
        )
        for job in in_order
    ]


def _rounded_up(seconds: float, to: int = 300) -> int:
    return math.ceil(seconds / to) * to


def read_trace(lines: Iterable[str], pool: str | None = None) -> list[TraceJob]:
    """Parse a trace of either form; `pool` picks one tenant (virtual cluster) of the longer form.

    Raises ValueError naming the columns that are missing.
    """
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    columns = set(rows.fieldnames or ())
    if {"job_id", "submit_s", "duration_s", "gpus"} <= columns:
        submit, gpus, per_second = "submit_s", "gpus", 1
    elif {"job_id", "submit_time", "duration_s", "num_chips"} <= columns:
        submit, gpus, per_second = "submit_time", "num_chips", 1_000_000
    else:
        raise ValueError(f"not a trace: columns are {', '.join(sorted(columns)) or 'missing'}")
    return [
        TraceJob(
            id=int(row["job_id"]),
            submit_s=int(row[submit]) // per_second,
            duration_s=math.ceil(float(row["duration_s"])),
            gpus=int(row[gpus]),
        )
        for row in rows
        if pool is None or row.get("tenant") == pool
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replay", description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--nodes", type=int, default=96)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--policy", choices=[*POLICIES, "all"], default="all", help="all: shipped, fifo, sjf")
    parser.add_argument("--estimates", choices=["off4", "perfect", "none"], default="off4")
    parser.add_argument("--pool", help="only this tenant's rows (the longer form)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row of figures for each policy."""
    given = _arguments(argv)
    with given.trace.open(encoding="utf-8") as lines:
        jobs = with_estimates(read_trace(lines, given.pool), given.estimates)
    capacity = given.nodes * given.gpus_per_node
    fitting = [job for job in jobs if job.gpus <= capacity]
    print(
        f"{len(fitting):,} jobs on {given.nodes} nodes of {given.gpus_per_node} GPUs, "
        f"estimates {given.estimates}; {len(jobs) - len(fitting)} larger than all of it left out; seconds"
    )
    print("policy       mean JCT  mean wait   max wait  mean wait >=32  utilisation  took")
    for policy in ["shipped", "fifo", "sjf"] if given.policy == "all" else [given.policy]:
        began = time.perf_counter()
        figures = replay(fitting, policy, given.nodes, given.gpus_per_node)
        print(f"{_row(figures)} {time.perf_counter() - began:5.0f} s", flush=True)
    return 0


def _row(figures: Figures) -> str:
    return (
        f"{figures.policy:11} {figures.mean_jct:9,.0f} {figures.mean_wait:10,.0f} {figures.max_wait:10,.0f}"
        f" {figures.mean_wait_large:15,.0f} {figures.utilisation:12.1%}"
    )


if __name__ == "__main__":
    sys.exit(main())
