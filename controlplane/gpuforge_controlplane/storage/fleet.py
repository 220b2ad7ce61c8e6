"""Clusters, nodes and GPUs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict

from sqlalchemy import and_, bindparam, case, func, or_, select, update

from gpuforge_controlplane.domain.fleet import GpuStatus, NodeState
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import allocations, clusters, gpus, jobs, nodes
from gpuforge_controlplane.storage.statements import Row, insert, is_among, is_one_of, record, records

_NOT_TOLD = ("id", "cluster_id", "hostname", "state", "retired_at", "created_at")  # a heartbeat changes none


class StoredCluster(TypedDict):
    """A row of `clusters`."""

    id: int
    name: str
    region: str | None
    created_at: datetime


class StoredNode(TypedDict):
    """A row of `nodes`."""

    id: int
    cluster_id: int
    hostname: str
    ip_address: str | None
    total_gpus: int | None
    cpu_cores: int | None
    ram_gb: int | None
    agent_version: str | None
    clock_offset_s: float | None
    queued_samples: int | None
    dropped_samples: int | None
    gap_since: datetime | None
    gap_until: datetime | None
    state: NodeState
    last_heartbeat_at: datetime
    retired_at: datetime | None
    created_at: datetime


class StoredGpu(TypedDict):
    """A row of `gpus`."""

    id: int
    node_id: int
    gpu_index: int | None
    uuid: str | None
    model: str | None
    vram_mb: int | None
    status: GpuStatus
    utilization_pct: float | None
    memory_used_mb: int | None
    memory_total_mb: int | None
    temperature_c: float | None
    power_draw_w: float | None
    recorded_at: datetime | None
    missing: dict[str, str] | None
    created_at: datetime


class ClusterSize(NamedTuple):
    """Nodes of a cluster that are not retired, how many of them are silent, and the GPUs in place on them."""

    nodes: int = 0
    silent: int = 0
    gpus: int = 0


async def create_cluster(tx: Connection, values: Row) -> StoredCluster | None:
    """The new row, or None where the name is taken."""
    made = await tx.execute(
        insert(tx, clusters).values(**values).on_conflict_do_nothing().returning(*clusters.c)
    )
    return record(made, StoredCluster)


async def clusters_page(
    tx: Connection, *, only: int | None, after: int = 0, limit: int
) -> list[StoredCluster]:
    """Clusters in order of id beyond `after`, or the one named by `only`."""
    query = select(clusters).where(clusters.c.id > after).order_by(clusters.c.id).limit(limit)
    if only is not None:
        query = query.where(clusters.c.id == only)
    return records(await tx.execute(query), StoredCluster)


async def clusters_among(tx: Connection, cluster_ids: Sequence[int]) -> list[int]:
    """Those of `cluster_ids` that there are."""
    query = select(clusters.c.id).where(is_among(tx, clusters.c.id, cluster_ids)).order_by(clusters.c.id)
    return list((await tx.execute(query)).scalars())


async def lock_clusters(tx: Connection, cluster_ids: Sequence[int]) -> None:
    """Be the only one who allocates in these clusters until the transaction ends.

    Taken before any other lock, in order of id. Jobs that refer to a cluster can be inserted all the same.
    """
    query = select(clusters.c.id).where(is_among(tx, clusters.c.id, cluster_ids)).order_by(clusters.c.id)
    await tx.execute(query.with_for_update(key_share=True))


async def cluster_sizes(
    tx: Connection, cluster_ids: Sequence[int], *, heard_since: datetime
) -> dict[int, ClusterSize]:
    """By cluster; those without a node are absent. Silent: not heard since then."""
    of_these = (is_among(tx, nodes.c.cluster_id, cluster_ids), nodes.c.retired_at.is_(None))
    silent = func.count(case((nodes.c.last_heartbeat_at < heard_since, 1)))
    hosts = select(nodes.c.cluster_id, func.count(), silent).where(*of_these).group_by(nodes.c.cluster_id)
    cards = (
        select(nodes.c.cluster_id, func.count())
        .join(gpus, gpus.c.node_id == nodes.c.id)
        .where(*of_these, gpus.c.gpu_index.is_not(None))
        .group_by(nodes.c.cluster_id)
    )
    in_place = {row[0]: row[1] for row in (await tx.execute(cards)).all()}
    found = (await tx.execute(hosts)).all()
    return {row[0]: ClusterSize(row[1], row[2], in_place.get(row[0], 0)) for row in found}


async def node_by_id(tx: Connection, node_id: int) -> StoredNode | None:
    """The node, retired ones too."""
    return record(await tx.execute(select(nodes).where(nodes.c.id == node_id)), StoredNode)


async def lock_node(tx: Connection, node_id: int) -> StoredNode | None:
    """The node, held against others until the transaction ends."""
    return record(await tx.execute(select(nodes).where(nodes.c.id == node_id).with_for_update()), StoredNode)


async def lock_nodes(tx: Connection, node_ids: Sequence[int]) -> list[StoredNode]:
    """Those of these nodes that there are, in order, held against others until the transaction ends."""
    query = select(nodes).where(is_among(tx, nodes.c.id, node_ids)).order_by(nodes.c.id)
    return records(await tx.execute(query.with_for_update()), StoredNode)


async def lock_nodes_named(tx: Connection, names: Collection[tuple[int, str]]) -> list[StoredNode]:
    """Those of these nodes, by cluster and hostname, that there are; held until the transaction ends."""
    hostnames: dict[int, list[str]] = defaultdict(list)
    for cluster_id, hostname in sorted(names):
        hostnames[cluster_id].append(hostname)
    # cluster by cluster: of pairs in a list SQLite makes no use of the index
    named = or_(
        *(
            and_(nodes.c.cluster_id == cluster_id, is_one_of(tx, nodes.c.hostname, those))
            for cluster_id, those in hostnames.items()
        )
    )
    query = select(nodes).where(named).order_by(nodes.c.id).with_for_update()
    return records(await tx.execute(query), StoredNode)


async def create_nodes(tx: Connection, rows: Sequence[Row]) -> list[StoredNode]:
    """The new rows, in any order; without those whose name another request registered first. `rows` all name
    the same columns."""
    if not rows:
        return []
    made = insert(tx, nodes).on_conflict_do_nothing().returning(*nodes.c)
    return records(await tx.execute(made, rows), StoredNode)


async def hear_nodes(tx: Connection, heard: Sequence[StoredNode]) -> None:
    """Store what these nodes told of themselves. The caller holds them."""
    if not heard:
        return
    told = [name for name in StoredNode.__annotations__ if name not in _NOT_TOLD]
    statement = (
        update(nodes)
        .where(nodes.c.id == bindparam("node"))
        .values({name: bindparam(f"new_{name}") for name in told})
    )
    rows = [{"node": row["id"]} | {f"new_{name}": row[name] for name in told} for row in map(dict, heard)]
    await tx.execute(statement, rows)


async def update_node(tx: Connection, node_id: int, values: Row) -> StoredNode:
    """The row as it is now. The caller holds the node, so it is there."""
    changed = await tx.execute(
        update(nodes).where(nodes.c.id == node_id).values(**values).returning(*nodes.c)
    )
    return records(changed, StoredNode)[0]


async def nodes_page(
    tx: Connection, *, cluster_id: int | None, after: int = 0, limit: int
) -> list[StoredNode]:
    """Nodes that are not retired, in order of id beyond `after`."""
    query = (
        select(nodes)
        .where(nodes.c.id > after, nodes.c.retired_at.is_(None))
        .order_by(nodes.c.id)
        .limit(limit)
    )
    if cluster_id is not None:
        query = query.where(nodes.c.cluster_id == cluster_id)
    return records(await tx.execute(query), StoredNode)


async def gpus_of_nodes(tx: Connection, node_ids: Sequence[int]) -> list[StoredGpu]:
    """GPUs in place on these nodes, in order of node and index."""
    query = (
        select(gpus)
        .where(is_among(tx, gpus.c.node_id, node_ids), gpus.c.gpu_index.is_not(None))
        .order_by(gpus.c.node_id, gpus.c.gpu_index)
    )
    return records(await tx.execute(query), StoredGpu)


class KnownGpu(StoredGpu):
    """A GPU that registration has to do with, and where it is now."""

    cluster_id: int


async def gpus_in_question(tx: Connection, node_ids: Sequence[int], uuids: Sequence[str]) -> list[KnownGpu]:
    """All GPUs of these nodes, and those of these UUIDs wherever they are; held until the end."""
    asked = is_among(tx, gpus.c.node_id, node_ids) | is_one_of(tx, gpus.c.uuid, uuids)
    query = (
        select(gpus, nodes.c.cluster_id)
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .where(asked)
        .order_by(gpus.c.id)
        .with_for_update(of=gpus)
    )
    return records(await tx.execute(query), KnownGpu)


async def vacate(tx: Connection, gpu_ids: Sequence[int]) -> None:
    """Take these GPUs out of their slots."""
    await tx.execute(update(gpus).where(is_among(tx, gpus.c.id, gpu_ids)).values(gpu_index=None))


async def create_gpus(tx: Connection, rows: Sequence[Row]) -> list[StoredGpu]:
    """The new rows, in any order; `rows` all name the same columns.

    To return them in order SQLAlchemy would make a statement of each row, on SQLite.
    """
    if not rows:
        return []
    return records(await tx.execute(insert(tx, gpus).returning(*gpus.c), rows), StoredGpu)


async def update_gpu(tx: Connection, gpu_id: int, values: Row) -> None:
    await tx.execute(update(gpus).where(gpus.c.id == gpu_id).values(**values))


async def gpus_by_model(tx: Connection, cluster_id: int) -> dict[str | None, int]:
    """GPUs in place that the cluster owns, healthy or not, by model."""
    query = (
        select(gpus.c.model, func.count())
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .where(nodes.c.cluster_id == cluster_id, nodes.c.retired_at.is_(None), gpus.c.gpu_index.is_not(None))
        .group_by(gpus.c.model)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def usable_nodes(tx: Connection, node_ids: Sequence[int]) -> dict[int, str]:
    """Those of `node_ids` that may take jobs (active, not retired) and their hostnames; held so until the
    transaction ends."""
    query = (
        select(nodes.c.id, nodes.c.hostname)
        .where(is_among(tx, nodes.c.id, node_ids), nodes.c.state == "active", nodes.c.retired_at.is_(None))
        .order_by(nodes.c.id)
        .with_for_update(read=True)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def hostnames(tx: Connection, node_ids: Sequence[int]) -> list[str]:
    """The names of these nodes, in order of id."""
    query = select(nodes.c.hostname).where(is_among(tx, nodes.c.id, node_ids)).order_by(nodes.c.id)
    return list((await tx.execute(query)).scalars())


async def gpus_held_by(tx: Connection, tenant_id: int, *, cluster_id: int | None) -> list[StoredGpu]:
    """GPUs that running jobs of a tenant hold, in order of node and index."""
    query = (
        select(gpus)
        .join(allocations, allocations.c.gpu_id == gpus.c.id)
        .join(jobs, jobs.c.id == allocations.c.job_id)
        .where(allocations.c.ended_at.is_(None), jobs.c.tenant_id == tenant_id)
        .order_by(gpus.c.node_id, gpus.c.gpu_index)
    )
    if cluster_id is not None:
        query = query.where(jobs.c.cluster_id == cluster_id)
    return records(await tx.execute(query), StoredGpu)


async def holders(tx: Connection, gpu_ids: Sequence[int]) -> dict[int, int]:
    """The job that holds each of these GPUs, by GPU; free ones are absent."""
    query = select(allocations.c.gpu_id, allocations.c.job_id).where(
        allocations.c.ended_at.is_(None), is_among(tx, allocations.c.gpu_id, gpu_ids)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all()}


async def nodes_among(tx: Connection, node_ids: Sequence[int]) -> list[StoredNode]:
    """The nodes of these ids, in order."""
    query = select(nodes).where(is_among(tx, nodes.c.id, node_ids)).order_by(nodes.c.id)
    return records(await tx.execute(query), StoredNode)
