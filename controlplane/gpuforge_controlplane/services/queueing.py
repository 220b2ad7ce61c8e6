"""The queue, explained: why a job waits, where it stands, what a submission would meet."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gpuforge_controlplane.domain.decisions import Plan
from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.domain.forecast import Forecast, queue_ahead
from gpuforge_controlplane.domain.reasons import Code
from gpuforge_controlplane.domain.scheduler import plan, waiting_reason
from gpuforge_controlplane.domain.snapshot import QueuedJob, Snapshot, snapshot_of
from gpuforge_controlplane.services.context import Context, Page, Upserted, decode_cursor, page_of
from gpuforge_controlplane.services.jobs import (
    discreet,
    expected_s,
    job_records,
    queued_job,
    visible,
)
from gpuforge_controlplane.services.submissions import admitted, create_job
from gpuforge_controlplane.storage import cycles, fleet, jobs, snapshots
from gpuforge_controlplane.storage.snapshots import Rows
from gpuforge_shared.wire.base import MAX_ID
from gpuforge_shared.wire.jobs import (
    ClusterQueue,
    DryRun,
    JobCreate,
    JobExplanation,
    JobRecord,
    JobStatus,
    JobSubmit,
    LogQuery,
    QueueDepth,
    SchedulerLog,
    SchedulingMetrics,
    Throughput,
    Waits,
)

_DAY = timedelta(hours=24)
_SHOWN = 20  # jobs of each cluster's queue in the metrics
_CODES = frozenset(Code.__members__) | {"NODE_LOST", "TIME_LIMIT"}  # the last two: why a run ended


async def explain_job(ctx: Context, job_id: int) -> JobExplanation:
    """Why a job is where it is: reason with numbers, place in the queue, estimated start."""
    stored = visible(ctx, await jobs.by_id(ctx.tx, job_id), job_id)
    if stored["status"] == "queued":
        rows = await snapshots.load(ctx.tx, ctx.now - OFFLINE_AFTER, cluster_id=stored["cluster_id"])
        return await asyncio.to_thread(_waiting, ctx, rows, queued_job(stored))
    reason = stored["block_reason"] if stored["status"] == "blocked" else stored["end_reason"]
    return JobExplanation(
        job_id=job_id,
        status=stored["status"],
        code=_code(reason),
        reason=reason or f"the job is {stored['status']}",
        position=None,
        jobs_ahead=None,
        estimated_start=None,
    )


async def submit_job(
    ctx: Context, body: JobCreate, query: JobSubmit
) -> Upserted[JobRecord] | Upserted[DryRun]:
    """Submit a job: queued, or blocked with a reason. A dry run only says what would happen."""
    if query.dry_run:
        return Upserted(await preview_job(ctx, body), created=False)
    return Upserted(await create_job(ctx, body), created=True)


async def preview_job(ctx: Context, body: JobCreate) -> DryRun:
    """What submitting `body` would do, and when it would start. Nothing is stored."""
    values = await admitted(ctx, body)
    if values["status"] == "blocked":
        reason: str = values["block_reason"]
        blocked = _explanation("blocked", reason, position=None, estimated_start=None)
        return DryRun(**blocked, dry_run=True, would_start_on=[])
    job = QueuedJob(
        priority=body.priority,
        submitted_at=ctx.now.timestamp(),
        id=MAX_ID,  # behind everybody of its priority
        cluster_id=body.cluster_id,
        family=values["family"],
        gpu_count=body.gpu_count,
        tenant_id=values["tenant_id"],
        estimate_s=expected_s(body.estimated_duration_min, body.time_limit_min),
    )
    rows = await snapshots.load(ctx.tx, ctx.now - OFFLINE_AFTER, cluster_id=body.cluster_id)
    decided = await asyncio.to_thread(_with, rows, job, ctx.now.timestamp())
    mine = next((start for start in decided.starts if start.job.id == MAX_ID), None)
    if mine is None:
        waiting = await asyncio.to_thread(_waiting, ctx, rows, job)
        return DryRun(**{**waiting, "job_id": None}, dry_run=True, would_start_on=[])  # type: ignore[typeddict-item]
    hostnames = await fleet.hostnames(ctx.tx, [share.node_id for share in mine.shares])
    started = _explanation("running", "would start now", position=None, estimated_start=ctx.now)
    return DryRun(**started, dry_run=True, would_start_on=hostnames)


async def list_cycles(ctx: Context, query: LogQuery) -> Page[list[SchedulerLog]]:
    """Recent scheduler cycles, newest first: what was processed, started, blocked, and why."""
    limit = query.limit or 20
    before = decode_cursor(query.cursor, start=MAX_ID)
    found = await cycles.page(ctx.tx, before_id=before, limit=limit + 1)
    return page_of(found, limit, [cycle["id"] for cycle in found])


async def scheduling_metrics(ctx: Context) -> SchedulingMetrics:
    """Queue depth, waits, throughput over 24 h, and each cluster's live queue."""
    tenant_id, since = ctx.principal.tenant_id, ctx.now - _DAY
    counts = await jobs.live_counts(ctx.tx, tenant_id=tenant_id)
    moves = await jobs.moves_since(ctx.tx, since, tenant_id=tenant_id)
    queues = []
    for cluster in await fleet.clusters_page(ctx.tx, only=None, limit=1_000):
        queue = await jobs.queue_of(ctx.tx, cluster["id"], tenant_id=tenant_id, limit=_SHOWN)
        queues.append(
            ClusterQueue(
                cluster_id=cluster["id"],
                cluster_name=cluster["name"],
                running=counts.get((cluster["id"], "running"), 0),
                queued=counts.get((cluster["id"], "queued"), 0),
                blocked=counts.get((cluster["id"], "blocked"), 0),
                queue=await job_records(ctx, queue),
            )
        )
    return SchedulingMetrics(
        queue_depth=QueueDepth(
            running=sum(queue["running"] for queue in queues),
            queued=sum(queue["queued"] for queue in queues),
            blocked=sum(queue["blocked"] for queue in queues),
        ),
        wait=_waits(await jobs.waits_since(ctx.tx, since, tenant_id=tenant_id)),
        throughput_24h=Throughput(
            submitted=await jobs.submitted_since(ctx.tx, since, tenant_id=tenant_id),
            started=moves.get("running", 0),
            completed=moves.get("completed", 0),
            failed=moves.get("failed", 0),
            cancelled=moves.get("cancelled", 0),
        ),
        clusters=queues,
    )


def _with(rows: Rows, job: QueuedJob, now: float) -> Plan:
    return plan(snapshot_of(rows.nodes, rows.tenants, rows.running, [*rows.waiting, job]), now)


def _waiting(ctx: Context, rows: Rows, job: QueuedJob) -> JobExplanation:
    """Why `job`, queued, does not run; the queue ahead of it is that of its cluster. Long: for a thread."""
    now = ctx.now.timestamp()
    ahead = queue_ahead(rows.waiting, job)
    everyone = {waiting.id: waiting for waiting in rows.waiting} | {job.id: job}
    snapshot = snapshot_of(rows.nodes, rows.tenants, rows.running, everyone.values())
    decided = plan(snapshot, now)
    begins = Forecast(rows.nodes, rows.tenants, rows.running, [*ahead, job]).start_of(job.id, now)
    starts_now = any(start.job.id == job.id for start in decided.starts)
    reason = "the next scheduling cycle starts it" if starts_now else _reason(snapshot, decided, job)
    explanation = _explanation(
        "queued",
        discreet(ctx, reason),
        position=len(ahead) + 1,
        estimated_start=None if begins is None else datetime.fromtimestamp(begins, UTC),
    )
    explanation["job_id"] = job.id
    return explanation


def _reason(snapshot: Snapshot, decided: Plan, job: QueuedJob) -> str:
    blocked = next((block for block in decided.blocks if block.job.id == job.id), None)
    return str(blocked.reason if blocked else waiting_reason(snapshot, decided, job).reason)


def _explanation(
    status: JobStatus, reason: str, *, position: int | None, estimated_start: datetime | None
) -> JobExplanation:
    return JobExplanation(
        job_id=None,
        status=status,
        code=_code(reason),
        reason=reason,
        position=position,
        jobs_ahead=None if position is None else position - 1,
        estimated_start=estimated_start,
    )


def _code(reason: str | None) -> str | None:
    head = (reason or "").partition(": ")[0]
    return head if head in _CODES else None  # a client's own words may look like one


def _waits(seconds: Sequence[float]) -> Waits:
    """Nearest-rank percentiles of waits given shortest first."""
    if not seconds:
        return Waits(mean_s=None, p50_s=None, p95_s=None)
    p50, p95 = (seconds[math.ceil(share * len(seconds)) - 1] for share in (0.5, 0.95))
    return Waits(mean_s=round(sum(seconds) / len(seconds), 1), p50_s=round(p50, 1), p95_s=round(p95, 1))
