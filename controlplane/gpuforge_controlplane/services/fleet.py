"""Clusters, nodes and GPUs: what operators do with them, and what the fleet looks like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from gpuforge_controlplane.domain.access import Kind
from gpuforge_controlplane.domain.fleet import (
    OFFLINE_AFTER,
    NodeStatus,
    cluster_status,
    gpu_status,
    node_status,
)
from gpuforge_controlplane.domain.health import clock_is_off
from gpuforge_controlplane.services.context import (
    LIST_CAP,
    Context,
    Page,
    decode_cursor,
    page_of,
)
from gpuforge_controlplane.services.jobs import list_jobs
from gpuforge_controlplane.services.keys import AGENT_PERMISSIONS, mint
from gpuforge_controlplane.storage import fleet, jobs
from gpuforge_controlplane.storage.fleet import ClusterSize, StoredCluster, StoredGpu, StoredNode
from gpuforge_shared.errors import Conflict, not_found
from gpuforge_shared.wire.base import PageQuery
from gpuforge_shared.wire.fleet import (
    ClusterCreate,
    ClusterCreated,
    ClusterDetail,
    ClusterRecord,
    GpuRecord,
    NodeDetail,
    NodeRecord,
    NodeUpdate,
)
from gpuforge_shared.wire.jobs import JobsQuery


async def list_clusters(ctx: Context, query: PageQuery) -> Page[list[ClusterRecord]]:
    """Clusters in order of id with live counts. A cluster key sees its own alone."""
    limit = query.limit or LIST_CAP
    found = await fleet.clusters_page(
        ctx.tx, only=ctx.principal.cluster_id, after=decode_cursor(query.cursor), limit=limit + 1
    )
    return page_of(await cluster_records(ctx, found), limit, [cluster["id"] for cluster in found])


async def create_cluster(ctx: Context, body: ClusterCreate) -> ClusterCreated:
    """Create a cluster and the key that its agents use. A name that is taken is a conflict."""
    stored = await fleet.create_cluster(
        ctx.tx, {"name": body.name, "region": body.region, "created_at": ctx.now}
    )
    if stored is None:
        raise Conflict(f'there is a cluster "{body.name}" already; choose another name', code="name_taken")
    await ctx.audit("cluster.create", "cluster", stored["id"], after=stored)
    key = await mint(
        ctx, label=f"agents of {body.name}"[:255], permissions=AGENT_PERMISSIONS, cluster_id=stored["id"]
    )
    (record,) = await cluster_records(ctx, [stored])
    return ClusterCreated(**record, api_key=key["key"])


async def get_cluster(ctx: Context, cluster_id: int) -> ClusterDetail:
    """A cluster with its nodes, their GPUs and latest metrics, and its 20 recent jobs.

    A tenant's key sees the GPUs that its own jobs hold, a cluster key no jobs.
    """
    found = await fleet.clusters_page(ctx.tx, only=_own_cluster(ctx, cluster_id), limit=1)
    if not found:
        raise not_found("cluster", cluster_id)
    (record,) = await cluster_records(ctx, found)
    if ctx.principal.tenant_id is None:
        stored = await fleet.nodes_page(ctx.tx, cluster_id=cluster_id, limit=LIST_CAP)
        nodes = await node_details(ctx, stored)
    else:
        nodes = await held_nodes(ctx, cluster_id)
    recent = await list_jobs(ctx, JobsQuery(cluster_id=cluster_id, limit=20))
    jobs_seen = [] if ctx.principal.kind is Kind.CLUSTER else recent.answer
    return ClusterDetail(**record, nodes=nodes, recent_jobs=jobs_seen)


async def update_node(ctx: Context, node_id: int, body: NodeUpdate) -> NodeRecord:
    """Set what the operator wants of a node. It brings a retired one back, but not at its agents' word."""
    before = await held_node(ctx, node_id)
    if before["retired_at"] is not None and ctx.principal.kind is Kind.CLUSTER:
        raise Conflict(
            f"node {node_id} ({before['hostname']}) was retired; an operator's key brings it back",
            code="node_retired",
        )
    after = await fleet.update_node(ctx.tx, node_id, {"state": body.state, "retired_at": None})
    ctx.owned.forget(after["cluster_id"])
    if after != before:
        await ctx.audit("node.state", "node", node_id, before=before, after=after)
    return node_record(ctx, after)


async def retire_node(ctx: Context, node_id: int) -> NodeRecord:
    """Take a node out of the fleet: it and its GPUs leave every list, their history stays."""
    before = await held_node(ctx, node_id)
    if before["retired_at"] is not None:
        return node_record(ctx, before)
    after = await fleet.update_node(ctx.tx, node_id, {"retired_at": ctx.now})
    ctx.owned.forget(after["cluster_id"])
    await ctx.audit("node.retire", "node", node_id, before=before, after=after)
    return node_record(ctx, after)


async def cluster_records(ctx: Context, stored: Sequence[StoredCluster]) -> list[ClusterRecord]:
    """Clusters with their live counts."""
    sizes = await fleet.cluster_sizes(
        ctx.tx, [cluster["id"] for cluster in stored], heard_since=ctx.now - OFFLINE_AFTER
    )
    counts = await jobs.live_counts(ctx.tx, tenant_id=ctx.principal.tenant_id)
    return [_cluster_record(cluster, sizes.get(cluster["id"], ClusterSize()), counts) for cluster in stored]


async def node_details(ctx: Context, stored: Sequence[StoredNode]) -> list[NodeDetail]:
    """Nodes with their GPUs."""
    return await _with_gpus(ctx, stored, await fleet.gpus_of_nodes(ctx.tx, [node["id"] for node in stored]))


async def held_nodes(ctx: Context, cluster_id: int | None) -> list[NodeDetail]:
    """The nodes on which jobs of the caller's tenant run, with the GPUs that these hold and no others."""
    assert ctx.principal.tenant_id is not None
    held = await fleet.gpus_held_by(ctx.tx, ctx.principal.tenant_id, cluster_id=cluster_id)
    stored = await fleet.nodes_among(ctx.tx, sorted({gpu["node_id"] for gpu in held}))
    return await _with_gpus(ctx, stored, held)


async def _with_gpus(
    ctx: Context, stored: Iterable[StoredNode], stored_gpus: Sequence[StoredGpu]
) -> list[NodeDetail]:
    jobs_of = await fleet.holders(ctx.tx, [gpu["id"] for gpu in stored_gpus])
    by_node: dict[int, list[StoredGpu]] = defaultdict(list)
    for gpu in stored_gpus:
        by_node[gpu["node_id"]].append(gpu)
    details = []
    for node in stored:
        record = node_record(ctx, node)
        gpus = [gpu_record(gpu, record["status"], jobs_of.get(gpu["id"])) for gpu in by_node[node["id"]]]
        details.append(NodeDetail(**record, gpus=gpus))
    return details


def gpu_record(gpu: StoredGpu, node: NodeStatus, job_id: int | None = None) -> GpuRecord:
    """A GPU as clients see it, on a node of this status, held by this job."""
    return GpuRecord(
        id=gpu["id"],
        node_id=gpu["node_id"],
        gpu_index=gpu["gpu_index"],
        uuid=gpu["uuid"],
        model=gpu["model"],
        vram_mb=gpu["vram_mb"],
        status=gpu_status(gpu["status"], node),
        utilization_pct=gpu["utilization_pct"],
        memory_used_mb=gpu["memory_used_mb"],
        memory_total_mb=gpu["memory_total_mb"],
        temperature_c=gpu["temperature_c"],
        power_draw_w=gpu["power_draw_w"],
        recorded_at=gpu["recorded_at"],
        missing=gpu["missing"] or {},
        job_id=job_id,
    )


def may_see(ctx: Context, cluster_id: int) -> bool:
    """Whether a cluster is the caller's business: a cluster key knows only its own."""
    return ctx.principal.cluster_id in (None, cluster_id)


async def held_node(ctx: Context, node_id: int) -> StoredNode:
    """The node, held until the transaction ends; NotFound where the caller may not know it."""
    node = await fleet.lock_node(ctx.tx, node_id)
    if node is None or not may_see(ctx, node["cluster_id"]):
        raise not_found("node", node_id)
    return node


def _own_cluster(ctx: Context, cluster_id: int) -> int:
    if not may_see(ctx, cluster_id):
        raise not_found("cluster", cluster_id)
    return cluster_id


def node_record(ctx: Context, node: StoredNode) -> NodeRecord:
    """A node as clients see it."""
    return NodeRecord(
        id=node["id"],
        cluster_id=node["cluster_id"],
        hostname=node["hostname"],
        ip_address=node["ip_address"],
        state=node["state"],
        status=node_status(node["state"], node["last_heartbeat_at"], node["retired_at"], ctx.now),
        total_gpus=node["total_gpus"],
        cpu_cores=node["cpu_cores"],
        ram_gb=node["ram_gb"],
        agent_version=node["agent_version"],
        clock_offset_s=node["clock_offset_s"],
        clock_is_off=clock_is_off(node["clock_offset_s"]),
        queued_samples=node["queued_samples"],
        dropped_samples=node["dropped_samples"],
        gap_since=node["gap_since"],
        gap_until=node["gap_until"],
        last_heartbeat_at=node["last_heartbeat_at"],
        created_at=node["created_at"],
    )


def _cluster_record(
    cluster: StoredCluster, size: ClusterSize, job_counts: Mapping[tuple[int, str], int]
) -> ClusterRecord:
    return ClusterRecord(
        id=cluster["id"],
        name=cluster["name"],
        region=cluster["region"],
        status=cluster_status(size.nodes, size.silent),
        node_count=size.nodes,
        gpu_count=size.gpus,
        active_jobs=job_counts.get((cluster["id"], "running"), 0),
        queued_jobs=job_counts.get((cluster["id"], "queued"), 0),
        created_at=cluster["created_at"],
    )
