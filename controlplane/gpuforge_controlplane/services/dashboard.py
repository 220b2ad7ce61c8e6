"""Overviews: the fleet's topology and who holds which GPU."""

from __future__ import annotations

from collections.abc import Sequence

from gpuforge_controlplane.domain.access import Kind
from gpuforge_controlplane.domain.fleet import OFFLINE_AFTER, gpu_status, node_status
from gpuforge_controlplane.services.context import LIST_CAP, Context, Page, decode_cursor, page_of
from gpuforge_controlplane.services.fleet import cluster_records, node_details
from gpuforge_controlplane.storage import fleet
from gpuforge_shared.errors import not_found
from gpuforge_shared.wire.fleet import (
    AllocationQuery,
    DashboardOverview,
    FleetStats,
    GpuAllocation,
    OverviewQuery,
)

OVERVIEW_NODES = 1_000  # nodes in one overview without `limit`: some 3 MB


async def overview(ctx: Context, query: OverviewQuery) -> Page[DashboardOverview]:
    """Topology with latest metrics, stats and recent jobs; pages go by node."""
    clusters = await fleet.clusters_page(ctx.tx, only=query.cluster_id, limit=LIST_CAP)
    if query.cluster_id is not None and not clusters:
        raise not_found("cluster", query.cluster_id)
    limit = query.limit or OVERVIEW_NODES
    nodes = (
        []
        if ctx.principal.kind is Kind.TENANT
        else await fleet.nodes_page(
            ctx.tx, cluster_id=query.cluster_id, after=decode_cursor(query.cursor), limit=limit + 1
        )
    )
    page = page_of(nodes, limit, [node["id"] for node in nodes])
    answer = DashboardOverview(
        stats=await _stats(ctx, query.cluster_id, total_clusters=len(clusters)),
        clusters=await cluster_records(ctx, clusters),
        nodes=await node_details(ctx, page.answer),
        recent_jobs=[],
    )
    return Page(answer, page.last_id)


async def gpu_allocation(ctx: Context, query: AllocationQuery) -> Page[list[GpuAllocation]]:
    """Every GPU with the job that holds it, in order of id."""
    if query.allocated or query.tenant_id is not None or ctx.principal.kind is Kind.TENANT:
        return Page([], None)  # nothing is allocated before there are jobs
    limit = query.limit or LIST_CAP
    found = await fleet.placed_gpus(
        ctx.tx, cluster_id=query.cluster_id, after=decode_cursor(query.cursor), limit=limit + 1
    )
    return page_of([_allocation(ctx, gpu) for gpu in found], limit, [gpu["gpu_id"] for gpu in found])


async def _stats(ctx: Context, cluster_id: int | None, *, total_clusters: int) -> FleetStats:
    fresh_since = ctx.now - OFFLINE_AFTER
    total_nodes, online = await fleet.count_nodes(ctx.tx, cluster_id=cluster_id, fresh_since=fresh_since)
    tallies = await fleet.tally(ctx.tx, cluster_id=cluster_id, fresh_since=fresh_since)
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


def _count(tallies: Sequence[fleet.Tally], status: str) -> int:
    return sum(tally["gpus"] for tally in tallies if tally["status"] == status)


def _allocation(ctx: Context, gpu: fleet.PlacedGpu) -> GpuAllocation:
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
        job=None,
    )
