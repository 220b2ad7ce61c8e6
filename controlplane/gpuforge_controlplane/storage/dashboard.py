"""What overviews count and show across nouns."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, TypeVarTuple

from sqlalchemy import ColumnElement, Select, func, select

from gpuforge_controlplane.domain.fleet import GpuStatus, NodeState
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, clusters, gpus, jobs, nodes, tenants
from gpuforge_controlplane.storage.statements import records

_Columns = TypeVarTuple("_Columns")


class PlacedGpu(TypedDict):
    """A GPU and where it stands, for the allocation map."""

    gpu_id: int
    cluster_id: int
    cluster_name: str
    node_id: int
    hostname: str
    gpu_index: int | None
    model: str | None
    status: GpuStatus
    utilization_pct: float | None
    state: NodeState
    last_heartbeat_at: datetime
    job_id: int | None
    job_name: str | None
    tenant_id: int | None
    tenant_name: str | None
    started_at: datetime | None


async def placed_gpus(
    tx: Connection,
    *,
    cluster_id: int | None,
    tenant_id: int | None,
    allocated: bool | None,
    after: int,
    limit: int,
) -> list[PlacedGpu]:
    """GPUs in place on nodes that are not retired, with the job that holds each, by id beyond `after`."""
    query = (
        select(
            gpus.c.id.label("gpu_id"),
            nodes.c.cluster_id,
            clusters.c.name.label("cluster_name"),
            gpus.c.node_id,
            nodes.c.hostname,
            gpus.c.gpu_index,
            gpus.c.model,
            gpus.c.status,
            gpus.c.utilization_pct,
            nodes.c.state,
            nodes.c.last_heartbeat_at,
            jobs.c.id.label("job_id"),
            jobs.c.name.label("job_name"),
            jobs.c.tenant_id,
            tenants.c.name.label("tenant_name"),
            allocations.c.started_at,
        )
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .join(clusters, clusters.c.id == nodes.c.cluster_id)
        .outerjoin(allocations, (allocations.c.gpu_id == gpus.c.id) & allocations.c.ended_at.is_(None))
        .outerjoin(jobs, jobs.c.id == allocations.c.job_id)
        .outerjoin(tenants, tenants.c.id == jobs.c.tenant_id)
        .where(gpus.c.id > after, gpus.c.gpu_index.is_not(None), nodes.c.retired_at.is_(None))
        .order_by(gpus.c.id)
        .limit(limit)
    )
    if cluster_id is not None:
        query = query.where(nodes.c.cluster_id == cluster_id)
    if tenant_id is not None:
        query = query.where(jobs.c.tenant_id == tenant_id)
    if allocated is not None:
        query = query.where(
            allocations.c.gpu_id.is_not(None) if allocated else allocations.c.gpu_id.is_(None)
        )
    return records(await tx.execute(query), PlacedGpu)


class Tally(TypedDict):
    """How many GPUs of one status stand on nodes heard from since a moment, or not."""

    node_is_fresh: bool
    status: GpuStatus
    gpus: int
    reporting: int
    utilization_sum: float


async def tally(tx: Connection, *, cluster_id: int | None, fresh_since: datetime) -> list[Tally]:
    """GPU counts by status and freshness of their node, with the sum of utilisation in percent."""
    fresh: ColumnElement[bool] = nodes.c.last_heartbeat_at >= fresh_since
    query = (
        select(
            fresh.label("node_is_fresh"),
            gpus.c.status,
            func.count().label("gpus"),
            func.count(gpus.c.utilization_pct).label("reporting"),
            func.coalesce(func.sum(gpus.c.utilization_pct), 0.0).label("utilization_sum"),
        )
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .where(gpus.c.gpu_index.is_not(None), nodes.c.retired_at.is_(None))
        .group_by(fresh, gpus.c.status)
    )
    return records(await tx.execute(_within(query, cluster_id)), Tally)


async def count_nodes(tx: Connection, *, cluster_id: int | None, fresh_since: datetime) -> tuple[int, int]:
    """How many nodes there are, and how many of them were heard from since `fresh_since`."""
    query = select(func.count(), func.count().filter(nodes.c.last_heartbeat_at >= fresh_since)).where(
        nodes.c.retired_at.is_(None)
    )
    total, fresh = (await tx.execute(_within(query, cluster_id))).one()
    return total, fresh


def _within(query: Select[*_Columns], cluster_id: int | None) -> Select[*_Columns]:
    return query if cluster_id is None else query.where(nodes.c.cluster_id == cluster_id)
