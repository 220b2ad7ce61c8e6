"""Jobs, their allocations and their histories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypedDict, cast

from sqlalchemy import ColumnElement, func, literal, select, update

from gpuforge_controlplane.storage.columns import UtcTime
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, audit_log, gpus, job_events, jobs, nodes
from gpuforge_controlplane.storage.statements import Row, insert, is_among, record, records
from gpuforge_shared.wire.jobs import AllocatedGpu, JobEvent, JobsQuery, JobStatus, OnNodeLoss

LIVE = ("queued", "blocked", "running")


class StoredJob(TypedDict):
    """A row of `jobs`."""

    id: int
    cluster_id: int
    tenant_id: int | None
    name: str
    gpu_count: int
    gpu_type: str | None
    family: str | None
    priority: int
    status: JobStatus
    block_reason: str | None
    submitted_by: str | None
    estimated_duration_min: int | None
    time_limit_min: int | None
    on_node_loss: OnNodeLoss
    requeues: int
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None


class Taken(TypedDict):
    """A GPU given to a job."""

    job_id: int
    gpu_id: int
    node_id: int
    family: str
    tenant_id: int | None
    started_at: datetime


class Event(TypedDict):
    """A row of a job's history."""

    job_id: int
    at: datetime
    from_status: str | None
    to_status: str
    reason: str | None
    actor: str


async def create(tx: Connection, rows: Sequence[Row]) -> list[StoredJob]:
    """The new rows, alike in their columns, in order."""
    if not rows:
        return []
    made = insert(tx, jobs).returning(jobs.c.id, sort_by_parameter_order=True)
    ids = (await tx.execute(made, rows)).scalars()
    blank = dict.fromkeys(jobs.c.keys())
    return [cast("StoredJob", blank | row | {"id": job_id}) for row, job_id in zip(rows, ids, strict=True)]


async def by_id(tx: Connection, job_id: int) -> StoredJob | None:
    return record(await tx.execute(select(jobs).where(jobs.c.id == job_id)), StoredJob)


async def lock(tx: Connection, job_id: int) -> StoredJob | None:
    """The job, held against others until the transaction ends."""
    return record(await tx.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()), StoredJob)


async def page(tx: Connection, query: JobsQuery, *, before_id: int, limit: int) -> list[StoredJob]:
    """Jobs, newest first, below `before_id`."""
    wanted = select(jobs).where(jobs.c.id < before_id).order_by(jobs.c.id.desc()).limit(limit)
    for name in ("status", "cluster_id", "tenant_id"):
        if (value := getattr(query, name)) is not None:
            wanted = wanted.where(jobs.c[name] == value)
    return records(await tx.execute(wanted), StoredJob)


async def queue_of(tx: Connection, cluster_id: int, *, tenant_id: int | None, limit: int) -> list[StoredJob]:
    """The waiting jobs of a cluster in scheduling order; of one tenant where that is given."""
    query = (
        select(jobs)
        .where(jobs.c.status == "queued", jobs.c.cluster_id == cluster_id)
        .order_by(jobs.c.priority, jobs.c.submitted_at, jobs.c.id)
        .limit(limit)
    )
    if tenant_id is not None:
        query = query.where(jobs.c.tenant_id == tenant_id)
    return records(await tx.execute(query), StoredJob)


async def live_counts(tx: Connection, *, tenant_id: int | None) -> dict[tuple[int, str], int]:
    """Live jobs by `(cluster, status)`; of one tenant where that is given."""
    query = (
        select(jobs.c.cluster_id, jobs.c.status, func.count())
        .where(jobs.c.status.in_(LIVE))
        .group_by(jobs.c.cluster_id, jobs.c.status)
    )
    if tenant_id is not None:
        query = query.where(jobs.c.tenant_id == tenant_id)
    return {(row[0], row[1]): row[2] for row in (await tx.execute(query)).all()}


async def move(
    tx: Connection,
    job_ids: Sequence[int],
    *,
    expected: Sequence[str],
    values: Row,
    ended_at: datetime | None = None,
) -> list[StoredJob]:
    """Change the jobs that are still in a status of `expected`; the rows changed. The rest is stale.

    `ended_at`: when they ended, if they did; one that had not started by then ended as it started.
    """
    changed = update(jobs).where(is_among(tx, jobs.c.id, job_ids), jobs.c.status.in_(expected))
    if ended_at is not None:
        changed = changed.values(ended_at=_latest(tx, jobs.c.started_at, ended_at))
    return records(await tx.execute(changed.values(**values).returning(*jobs.c)), StoredJob)


async def note(tx: Connection, events: Sequence[Event]) -> None:
    """Add rows to histories."""
    if events:
        await tx.execute(insert(tx, job_events), [dict(event) for event in events])


async def history(tx: Connection, job_id: int) -> list[JobEvent]:
    """What became of a job, oldest first."""
    columns = (
        job_events.c.at,
        job_events.c.from_status,
        job_events.c.to_status,
        job_events.c.reason,
        job_events.c.actor,
    )
    query = select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
    return records(await tx.execute(query), JobEvent)


async def busy_gpus(tx: Connection, gpu_ids: Sequence[int]) -> set[int]:
    """Those of `gpu_ids` that a job holds."""
    query = select(allocations.c.gpu_id).where(
        allocations.c.ended_at.is_(None), is_among(tx, allocations.c.gpu_id, gpu_ids)
    )
    return set((await tx.execute(query)).scalars())


async def held_beyond(tx: Connection, gpu_ids: Sequence[int], moment: datetime) -> dict[int, datetime]:
    """Of those of `gpu_ids` that were held beyond `moment`, until when.

    There are some only where a clock was set back, or another replica's runs ahead.
    """
    query = select(allocations.c.gpu_id, func.max(allocations.c.ended_at)).where(
        allocations.c.ended_at > moment, is_among(tx, allocations.c.gpu_id, gpu_ids)
    )
    return {row[0]: row[1] for row in (await tx.execute(query.group_by(allocations.c.gpu_id))).all()}


async def allocate(tx: Connection, taken: Sequence[Taken]) -> None:
    """Give GPUs to jobs. A GPU that another transaction gave away meanwhile fails the whole by constraint."""
    await tx.execute(insert(tx, allocations), [dict(gpu) for gpu in taken])


async def free(tx: Connection, job_ids: Iterable[int], at: datetime) -> None:
    """End the jobs' allocations; never before they started nor in what is metered, whatever `at` says."""
    metered = func.coalesce(allocations.c.metered_until, allocations.c.started_at)
    await tx.execute(
        update(allocations)
        .where(is_among(tx, allocations.c.job_id, list(job_ids)), allocations.c.ended_at.is_(None))
        .values(ended_at=_latest(tx, metered, at))
    )


async def allocation_of(tx: Connection, job_id: int) -> list[AllocatedGpu]:
    """The GPUs that a job holds or, once it has ended, last held."""
    last = select(func.max(allocations.c.started_at)).where(allocations.c.job_id == job_id).scalar_subquery()
    query = (
        select(
            allocations.c.gpu_id,
            allocations.c.node_id,
            nodes.c.hostname,
            gpus.c.gpu_index,
            gpus.c.uuid,
            gpus.c.model,
            allocations.c.started_at,
            allocations.c.ended_at,
        )
        .join(gpus, gpus.c.id == allocations.c.gpu_id)
        .join(nodes, nodes.c.id == allocations.c.node_id)
        .where(allocations.c.job_id == job_id, allocations.c.started_at == last)
        .order_by(allocations.c.node_id, gpus.c.gpu_index)
    )
    return records(await tx.execute(query), AllocatedGpu)


class LostJob(TypedDict):
    """A running job with a GPU on a node that went silent or was retired; when that was last heard."""

    job_id: int
    on_node_loss: OnNodeLoss
    requeues: int
    started_at: datetime
    time_limit_min: int | None
    hostname: str
    last_heartbeat_at: datetime


async def on_lost_nodes(tx: Connection, heard_before: datetime) -> list[LostJob]:
    """Running jobs on nodes not heard from since `heard_before`, or retired."""
    gone = (nodes.c.last_heartbeat_at < heard_before) | nodes.c.retired_at.is_not(None)
    query = (
        select(
            jobs.c.id.label("job_id"),
            jobs.c.on_node_loss,
            jobs.c.requeues,
            jobs.c.started_at,
            jobs.c.time_limit_min,
            nodes.c.hostname,
            nodes.c.last_heartbeat_at,
        )
        .join(allocations, allocations.c.job_id == jobs.c.id)
        .join(nodes, nodes.c.id == allocations.c.node_id)
        .where(allocations.c.ended_at.is_(None), jobs.c.status == "running", gone)
        .distinct()
        .order_by(jobs.c.id, nodes.c.last_heartbeat_at)
    )
    return records(await tx.execute(query), LostJob)


async def limited(tx: Connection) -> list[StoredJob]:
    """Running jobs that have a time limit."""
    query = select(jobs).where(jobs.c.status == "running", jobs.c.time_limit_min.is_not(None))
    return records(await tx.execute(query), StoredJob)


async def latest_write(tx: Connection) -> tuple[int, int]:
    """A mark that changes with every write that a person or an agent caused; telemetry apart.

    The newest number alone would not do: a write is numbered when it is made and seen when it is committed,
    which another with a higher number may be before it. So the last thousand are counted as well.
    """
    newest = select(func.max(audit_log.c.id)).scalar_subquery()
    query = select(func.coalesce(func.max(audit_log.c.id), 0), func.count()).where(
        audit_log.c.id > newest - 1_000
    )
    latest, count = (await tx.execute(query)).one()
    return latest, count


async def waits_since(tx: Connection, since: datetime, *, tenant_id: int | None) -> Sequence[float]:
    """Seconds from submission to start of jobs started since then, shortest first. None is negative, though a
    clock was set back, or the leader's runs behind another replica's."""
    query = select(jobs.c.submitted_at, jobs.c.started_at).where(jobs.c.started_at >= since)
    if tenant_id is not None:
        query = query.where(jobs.c.tenant_id == tenant_id)
    found = (await tx.execute(query)).all()
    return sorted(max(0.0, (started - submitted).total_seconds()) for submitted, started in found)


async def submitted_since(tx: Connection, since: datetime, *, tenant_id: int | None) -> int:
    query = select(func.count()).where(jobs.c.submitted_at >= since)
    if tenant_id is not None:
        query = query.where(jobs.c.tenant_id == tenant_id)
    return int(await tx.scalar(query) or 0)


async def moves_since(tx: Connection, since: datetime, *, tenant_id: int | None) -> dict[str, int]:
    """How many jobs came to each status since then."""
    query = select(job_events.c.to_status, func.count()).where(job_events.c.at >= since)
    if tenant_id is not None:
        query = query.join(jobs, jobs.c.id == job_events.c.job_id).where(jobs.c.tenant_id == tenant_id)
    return {row[0]: row[1] for row in (await tx.execute(query.group_by(job_events.c.to_status))).all()}


def _latest(tx: Connection, column: ColumnElement[datetime], at: datetime) -> ColumnElement[datetime]:
    later = func.max if tx.dialect.name == "sqlite" else func.greatest
    return later(column, literal(at, UtcTime))  # of no type it would be stored as text
