"""Jobs: moving, listing; who may see them is decided here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER
from gpuforge_controlplane.domain.lifecycle import IllegalTransition, JobStatus, Unchanged, transition
from gpuforge_controlplane.domain.quota import Tenant, remaining
from gpuforge_controlplane.domain.reasons import code_of
from gpuforge_controlplane.domain.scheduler import plan, waiting_reason
from gpuforge_controlplane.domain.shortage import quota_full
from gpuforge_controlplane.domain.snapshot import QueuedJob, snapshot_of
from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, decode_cursor, page_of
from gpuforge_controlplane.services.scheduling import end_job, shape_name, start
from gpuforge_controlplane.storage import cycles, fleet, jobs, snapshots, tenants
from gpuforge_controlplane.storage.jobs import Event, StoredJob
from gpuforge_controlplane.storage.statements import Row
from gpuforge_shared.errors import Conflict, Forbidden, not_found
from gpuforge_shared.wire.base import MAX_ID
from gpuforge_shared.wire.jobs import JobDetail, JobRecord, JobsQuery, JobUpdate

NEXT_CYCLE = "the next scheduling cycle decides"
_KEPT_FOR = re.compile(r"kept for job \d+ \([^,]*, expected")


async def list_jobs(ctx: Context, query: JobsQuery) -> Page[list[JobRecord]]:
    """Jobs, newest first; a tenant's key sees its own alone."""
    limit = query.limit or LIST_CAP
    if ctx.principal.tenant_id is not None:
        if query.tenant_id not in (None, ctx.principal.tenant_id):
            return Page([], None)
        query = query.model_copy(update={"tenant_id": ctx.principal.tenant_id})
    before = decode_cursor(query.cursor, start=MAX_ID)
    found = await jobs.page(ctx.tx, query, before_id=before, limit=limit + 1)
    return page_of(await job_records(ctx, found), limit, [job["id"] for job in found])


async def get_job(ctx: Context, job_id: int) -> JobDetail:
    """A job with the GPUs it holds or last held, and its history."""
    stored = visible(ctx, await jobs.by_id(ctx.tx, job_id), job_id)
    (record,) = await job_records(ctx, [stored])
    return JobDetail(
        **record,
        allocation=await jobs.allocation_of(ctx.tx, job_id),
        history=await jobs.history(ctx.tx, job_id),
    )


async def update_job(ctx: Context, job_id: int, body: JobUpdate) -> JobRecord:
    """Move a job to another status. An illegal move is a conflict that names both states."""
    known = visible(ctx, await jobs.by_id(ctx.tx, job_id), job_id)
    if body.status == "running":
        await fleet.lock_clusters(ctx.tx, [known["cluster_id"]])
    before = visible(ctx, await jobs.lock(ctx.tx, job_id), job_id)
    move = transition(JobStatus(before["status"]), JobStatus(body.status))
    if isinstance(move, IllegalTransition):
        raise Conflict(f"job {job_id}: {move}", code="illegal_transition")
    if isinstance(move, Unchanged):
        return (await job_records(ctx, [before]))[0]
    if move.after is JobStatus.RUNNING:
        if ctx.principal.tenant_id is not None:
            raise Forbidden(
                "a tenant's key starts no job past the queue; the scheduler starts it in its turn",
                code="past_the_queue",
            )
        await _start_now(ctx, before)
    elif move.frees_gpus:
        await end_job(ctx.tx, [job_id], move.after, ctx.now, None, ctx.principal.name, ctx.now)
    else:
        await _move_waiting(ctx, before, move.after, body.block_reason)
    after = await jobs.by_id(ctx.tx, job_id)
    assert after is not None  # it is held
    await ctx.audit("job.update", "job", job_id, before=before, after=after)
    return (await job_records(ctx, [after]))[0]


async def job_records(ctx: Context, stored: Sequence[StoredJob]) -> list[JobRecord]:
    """Jobs as clients see them; queued ones with the reason they wait for, as the last cycle saw it."""
    queued = [job for job in stored if job["status"] == "queued"]
    pending = await _pending_reasons(ctx, queued) if queued else {}
    return [record_of(job, pending.get(job["id"])) for job in stored]


def visible(ctx: Context, job: StoredJob | None, job_id: int) -> StoredJob:
    """The job, unless there is none or it is another tenant's: NotFound."""
    if job is None or ctx.principal.tenant_id not in (None, job["tenant_id"]):
        raise not_found("job", job_id)
    return job


async def _start_now(ctx: Context, job: StoredJob) -> None:
    """Allocate at a client's word, atomically, past the queue but not past quota or capacity."""
    waiting = queued_job(job)
    rows = await snapshots.load(ctx.tx, ctx.now - OFFLINE_AFTER, cluster_id=job["cluster_id"])
    snapshot = snapshot_of(rows.nodes, rows.tenants, rows.running, [waiting])
    decided = plan(snapshot, ctx.now.timestamp())
    if decided.blocks:
        raise Conflict(f"job {job['id']} can't run: {decided.blocks[0].reason}", code="can_not_run")
    if not decided.starts:
        reason = waiting_reason(snapshot, decided, waiting).reason
        raise Conflict(f"job {job['id']} can't run now: {reason}", code="no_capacity")
    if not await start(ctx.tx, decided.starts, ctx.now, ctx.principal.name):
        raise Conflict(f"job {job['id']}: its GPUs were taken at this moment; try again", code="no_capacity")


async def _move_waiting(ctx: Context, job: StoredJob, after: JobStatus, reason: str | None) -> None:
    values: Row = {"status": str(after), "block_reason": None}
    if after is JobStatus.BLOCKED:
        # The scheduler releases what it has blocked, and knows that by the code: a client's words have none.
        coded = reason is not None and code_of(reason) is not None
        values["block_reason"] = f"held: {reason}" if coded else reason or f"held by {ctx.principal.name}"
    if after is JobStatus.CANCELLED:
        values["ended_at"] = ctx.now
    await jobs.move(ctx.tx, [job["id"]], expected=(job["status"],), values=values)
    await jobs.note(ctx.tx, [event_of(ctx, job["id"], job["status"], str(after), values["block_reason"])])


async def _pending_reasons(ctx: Context, queued: Sequence[StoredJob]) -> dict[int, str]:
    shortages = await cycles.latest_shortages(ctx.tx)
    tenant_ids = sorted({job["tenant_id"] for job in queued if job["tenant_id"] is not None})
    used = await tenants.gpus_in_use(ctx.tx, tenant_ids)
    quotas = {tenant["id"]: tenant for tenant in await tenants.among(ctx.tx, tenant_ids)}
    reasons = {}
    for job in queued:
        holder = None if job["tenant_id"] is None else quotas.get(job["tenant_id"])
        taken = 0 if holder is None else used.get(holder["id"], 0)
        if holder is not None and remaining(holder["gpu_quota"], taken) < job["gpu_count"]:
            tenant = Tenant(id=holder["id"], quota=holder["gpu_quota"])
            reasons[job["id"]] = str(quota_full(job["gpu_count"], tenant, taken))
        else:
            shape = shape_name((job["cluster_id"], job["family"]), job["gpu_count"])
            reasons[job["id"]] = discreet(ctx, shortages.get(shape, NEXT_CYCLE))
    return reasons


def discreet(ctx: Context, reason: str) -> str:
    """A reason as the caller may read it: a tenant's key learns nothing of the job a place is kept for."""
    if ctx.principal.tenant_id is None:
        return reason
    return _KEPT_FOR.sub("kept for another job (expected", reason)


def queued_job(job: StoredJob) -> QueuedJob:
    """A stored job as the scheduler sees one that waits."""
    return QueuedJob(
        priority=job["priority"],
        submitted_at=job["submitted_at"].timestamp(),
        id=job["id"],
        cluster_id=job["cluster_id"],
        family=job["family"],
        gpu_count=job["gpu_count"],
        tenant_id=job["tenant_id"],
        estimate_s=expected_s(job["estimated_duration_min"], job["time_limit_min"]),
        block_reason=(job["block_reason"] or "") if job["status"] == "blocked" else None,
    )


def expected_s(estimate_min: int | None, limit_min: int | None) -> int | None:
    """Seconds that a job is expected to run, as `snapshots.load` reads them; without an estimate, a day."""
    if limit_min is not None and limit_min < (24 * 60 if estimate_min is None else estimate_min):
        return 60 * limit_min
    return None if estimate_min is None else 60 * estimate_min


def record_of(job: StoredJob, pending: str | None) -> JobRecord:
    """A job as clients see it; `pending`: why it waits, if it does."""
    return JobRecord(
        id=job["id"],
        cluster_id=job["cluster_id"],
        tenant_id=job["tenant_id"],
        name=job["name"],
        status=job["status"],
        gpu_count=job["gpu_count"],
        gpu_type=job["gpu_type"],
        priority=job["priority"],
        block_reason=job["block_reason"],
        pending_reason=pending,
        submitted_by=job["submitted_by"],
        estimated_duration_min=job["estimated_duration_min"],
        time_limit_min=job["time_limit_min"],
        on_node_loss=job["on_node_loss"],
        submitted_at=job["submitted_at"],
        started_at=job["started_at"],
        ended_at=job["ended_at"],
        end_reason=job["end_reason"],
    )


def event_of(ctx: Context, job_id: int, before: str | None, after: str, reason: str | None) -> Event:
    """A row of a job's history, in the caller's name."""
    return Event(
        job_id=job_id,
        at=ctx.now,
        from_status=before,
        to_status=after,
        reason=reason,
        actor=ctx.principal.name,
    )
