"""The demo's tenants and jobs: they arrive, wait, run, end and block, so that there is something to see."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from gpuforge_client.rest import RestClient
from gpuforge_shared.clock import Clock, utc_now
from gpuforge_shared.errors import Conflict, GPUForgeError, NotFound

TURN_S = 4.0
MOST_WAITING = 4  # jobs in each cluster's queue; beyond, none are added
# name, the share of the fleet that it may use at once, plan
_TENANTS = (
    ("NovAI Labs", 40 / 96, "enterprise"),
    ("Acme ML", 32 / 96, "pro"),
    ("Helix Bio", 12 / 96, "starter"),
)
_GPUS_A_JOB = 500  # of the fleet, for each job that a cluster gets in a turn: large fleets fill as well
_NAMES = ("finetune", "pretrain", "evaluation", "embeddings", "distillation", "notebook", "sweep")
_GPUS = (1, 1, 2, 2, 4, 8, 16)
_SHOW_BLOCKED_S = 90.0  # then its owner thinks better of it
_SHORTEST_S, _LONGEST_S = 40.0, 240.0  # how long a job really runs; it says half of that to twice
# One in each cluster is kept for hours: GPUs that nobody used for half an hour are what leakage tells of.
_KEPT, _KEPT_GPUS, _KEPT_S = "workspace", 4, 3 * 3600.0


class _Record(msgspec.Struct):
    id: int
    name: str = ""


class _Job(msgspec.Struct):
    id: int
    cluster_id: int
    status: str
    submitted_at: datetime
    name: str = ""
    started_at: datetime | None = None

    @property
    def is_kept(self) -> bool:
        return self.name.startswith(_KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job to be submitted."""

    cluster_id: int
    tenant_id: int
    name: str
    gpu_count: int
    priority: int
    estimated_duration_min: int

    def body(self) -> Mapping[str, object]:
        """As POST /api/jobs takes it."""
        return {
            "cluster_id": self.cluster_id,
            "tenant_id": self.tenant_id,
            "name": self.name,
            "gpu_count": self.gpu_count,
            "priority": self.priority,
            "estimated_duration_min": self.estimated_duration_min,
            "submitted_by": "gpuforge demo",
        }


def length_s(job: _Job) -> float:
    """How long that job of the demo runs, in seconds: the same whoever asks."""
    if job.is_kept:
        return _KEPT_S
    return random.Random(job.id).uniform(_SHORTEST_S, _LONGEST_S)  # noqa: S311  # no secret


def over(jobs: Sequence[_Job], now: datetime) -> list[int]:
    """The running jobs that have run their length."""
    return [
        job.id
        for job in jobs
        if job.status == "running"
        and job.started_at is not None
        and now - job.started_at >= timedelta(seconds=length_s(job))
    ]


def wanted(
    jobs: Sequence[_Job], cluster_ids: Sequence[int], tenant_ids: Sequence[int], draw: random.Random
) -> list[Submission]:
    """One more job for each place: for each mention of a cluster, if its queue is short."""
    waiting = [job.cluster_id for job in jobs if job.status in ("queued", "blocked")]
    without = sorted({*cluster_ids} - {job.cluster_id for job in jobs if job.is_kept})
    kept = [
        Submission(
            cluster_id=cluster_id,
            tenant_id=draw.choice(tenant_ids[:2]),  # those whose quota has room for it
            name=f"{_KEPT}-{draw.randrange(1000):03}",
            gpu_count=_KEPT_GPUS,
            priority=8,
            estimated_duration_min=round(_KEPT_S / 60),
        )
        for cluster_id in without
    ]
    return kept + [
        Submission(
            cluster_id=cluster_id,
            tenant_id=draw.choice(tenant_ids),
            name=f"{draw.choice(_NAMES)}-{draw.randrange(1000):03}",
            gpu_count=draw.choice(_GPUS),
            priority=draw.choice((1, 3, 5, 5, 5, 8)),
            estimated_duration_min=draw.choice((1, 2, 3, 5)),
        )
        for cluster_id in cluster_ids
        if waiting.count(cluster_id) < MOST_WAITING
    ]


def quotas(gpus: int) -> list[tuple[str, int, str]]:
    """The demo's tenants on a fleet of that size: name, quota, plan."""
    return [(name, max(1, round(share * gpus)), plan) for name, share, plan in _TENANTS]


async def work(client: RestClient, cluster_ids: Sequence[int], gpus: int, clock: Clock = utc_now) -> None:
    """Keep the clusters with so many GPUs in all at work until cancelled.

    What the control plane refuses is left for the next turn.
    """
    draw = random.Random()  # noqa: S311  # no secret
    tenant_ids: list[int] = []
    while True:
        try:
            tenant_ids = tenant_ids or await _tenants(client, gpus)
            places = list(cluster_ids) * (1 + gpus // _GPUS_A_JOB)
            await _turn(client, places, tenant_ids, draw, clock())
        except NotFound:
            tenant_ids = []  # somebody deleted a tenant: see who is left
        except GPUForgeError:
            pass  # away or overloaded; whether it lives is for others to watch
        await asyncio.sleep(TURN_S)


async def _turn(
    client: RestClient,
    cluster_ids: Sequence[int],
    tenant_ids: Sequence[int],
    draw: random.Random,
    now: datetime,
) -> None:
    live: list[_Job] = []
    for status in ("running", "queued", "blocked"):
        live += [job async for job in client.pages(f"/api/jobs?status={status}", list[_Job])]
    for job_id in over(live, now):
        status = "failed" if draw.random() < 0.05 else "completed"
        await _move(client, job_id, status)
    for job in live:
        if job.status == "blocked" and now - job.submitted_at > timedelta(seconds=_SHOW_BLOCKED_S):
            await _move(client, job.id, "cancelled")
    for submission in wanted(live, cluster_ids, tenant_ids, draw):
        await client.post("/api/jobs", _Job, body=submission.body())


async def _move(client: RestClient, job_id: int, status: str) -> None:
    with contextlib.suppress(Conflict):  # somebody else moved it meanwhile
        await client.patch(f"/api/jobs/{job_id}", _Job, body={"status": status})


async def _tenants(client: RestClient, gpus: int) -> list[int]:
    """The demo's tenants, made where they are missing."""
    known = {tenant.name: tenant.id async for tenant in client.pages("/api/tenants", list[_Record])}
    for name, quota, tier in quotas(gpus):
        if name not in known:
            body = {"name": name, "gpu_quota": quota, "plan_tier": tier}
            known[name] = (await client.post("/api/tenants", _Record, body=body)).id
    return [known[name] for name, _, _ in _TENANTS]
