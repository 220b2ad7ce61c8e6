"""Overviews: the fleet's topology and who holds which GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER, gpu_status, node_status
from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, decode_cursor, page_of
from gpuforge_controlplane.services.fleet import cluster_records, held_nodes, node_details
from gpuforge_controlplane.services.jobs import list_jobs
from gpuforge_controlplane.storage import dashboard, fleet
from gpuforge_shared.errors import not_found
from gpuforge_shared.wire.fleet import (
    AllocationJob,
    AllocationQuery,
    DashboardOverview,
    FleetStats,
    GpuAllocation,
    NodeDetail,
    OverviewQuery,
)
from gpuforge_shared.wire.jobs import JobsQuery

OVERVIEW_NODES = 1_000  # nodes in one overview without `limit`: some 3 MB


async def overview(ctx: Context, query: OverviewQuery) -> Page[DashboardOverview]:
    """Topology with latest metrics, stats and recent jobs; pages go by node.

    A tenant's key sees the GPUs that its own jobs hold.
    """
    clusters = await fleet.clusters_page(ctx.tx, only=query.cluster_id, limit=LIST_CAP)
    if query.cluster_id is not None and not clusters:
        raise not_found("cluster", query.cluster_id)
    limit = query.limit or OVERVIEW_NODES
    after = decode_cursor(query.cursor)
    if ctx.principal.tenant_id is None:
        stored = await fleet.nodes_page(ctx.tx, cluster_id=query.cluster_id, after=after, limit=limit + 1)
        page = page_of(stored, limit, [node["id"] for node in stored])
        nodes = Page(await node_details(ctx, page.answer), page.last_id)
        stats = await _stats(ctx, query.cluster_id, total_clusters=len(clusters))
    else:
        held = [node for node in await held_nodes(ctx, query.cluster_id) if node["id"] > after]
        nodes = page_of(held, limit, [node["id"] for node in held])
        stats = _stats_of(held, total_clusters=len(clusters))
    recent = JobsQuery(cluster_id=query.cluster_id, limit=20)
    answer = DashboardOverview(
        stats=stats,
        clusters=await cluster_records(ctx, clusters),
        nodes=nodes.answer,
        recent_jobs=(await list_jobs(ctx, recent)).answer,
    )
    return Page(answer, nodes.last_id)


async def gpu_allocation(ctx: Context, query: AllocationQuery) -> Page[list[GpuAllocation]]:
    """Every GPU with the job that holds it, in order of id."""
    own = ctx.principal.tenant_id
    if own is not None and query.tenant_id not in (None, own):
        return Page([], None)
    limit = query.limit or LIST_CAP
    found = await dashboard.placed_gpus(
        ctx.tx,
        cluster_id=query.cluster_id,
        tenant_id=query.tenant_id if own is None else own,
        allocated=query.allocated,
        after=decode_cursor(query.cursor),
        limit=limit + 1,
    )
    return page_of([_allocation(ctx, gpu) for gpu in found], limit, [gpu["gpu_id"] for gpu in found])


async def _stats(ctx: Context, cluster_id: int | None, *, total_clusters: int) -> FleetStats:
    fresh_since = ctx.now - OFFLINE_AFTER
    total_nodes, online = await dashboard.count_nodes(ctx.tx, cluster_id=cluster_id, fresh_since=fresh_since)
    tallies = await dashboard.tally(ctx.tx, cluster_id=cluster_id, fresh_since=fresh_since)
    here = [tally for tally in tallies if tally["node_is_fresh"]]
    reporting = sum(tally["reporting"] for tally in here)
    return FleetStats(
        total_clusters=total_clusters,
        total_nodes=total_nodes,
        online_nodes=online,
        total_gpus=sum(tally["gpus"] for tally in tallies),
        active_gpus=_count(here, "active"),
        idle_gpus=_count(here, "idle"),
        unhealthy_gpus=_count(here, "unhealthy"),
        offline_gpus=sum(tally["gpus"] for tally in tallies if not tally["node_is_fresh"]),
        avg_utilization_pct=(
            round(sum(tally["utilization_sum"] for tally in here) / reporting, 1) if reporting else None
        ),
    )


def _stats_of(nodes: Sequence[NodeDetail], *, total_clusters: int) -> FleetStats:
    gpus = [gpu for node in nodes for gpu in node["gpus"]]
    told = [gpu["utilization_pct"] for gpu in gpus if gpu["utilization_pct"] is not None]
    by_status = Counter(gpu["status"] for gpu in gpus)
    return FleetStats(
        total_clusters=total_clusters,
        total_nodes=len(nodes),
        online_nodes=sum(node["status"] not in ("offline", "retired") for node in nodes),
        total_gpus=len(gpus),
        active_gpus=by_status["active"],
        idle_gpus=by_status["idle"],
        unhealthy_gpus=by_status["unhealthy"],
        offline_gpus=by_status["offline"],
        avg_utilization_pct=round(sum(told) / len(told), 1) if told else None,
    )


def _job(gpu: dashboard.PlacedGpu) -> AllocationJob | None:
    if gpu["job_id"] is None or gpu["job_name"] is None or gpu["started_at"] is None:
        return None
    return AllocationJob(
        id=gpu["job_id"],
        name=gpu["job_name"],
        tenant_id=gpu["tenant_id"],
        tenant_name=gpu["tenant_name"],
        started_at=gpu["started_at"],
    )


def _count(tallies: Sequence[dashboard.Tally], status: str) -> int:
    return sum(tally["gpus"] for tally in tallies if tally["status"] == status)


def _allocation(ctx: Context, gpu: dashboard.PlacedGpu) -> GpuAllocation:
    status = node_status(gpu["state"], gpu["last_heartbeat_at"], None, ctx.now)
    return GpuAllocation(
        gpu_id=gpu["gpu_id"],
        cluster_id=gpu["cluster_id"],
        cluster_name=gpu["cluster_name"],
        node_id=gpu["node_id"],
        hostname=gpu["hostname"],
        gpu_index=gpu["gpu_index"],
        model=gpu["model"],
        status=gpu_status(gpu["status"], status),
        utilization_pct=gpu["utilization_pct"],
        job=_job(gpu),
    )
