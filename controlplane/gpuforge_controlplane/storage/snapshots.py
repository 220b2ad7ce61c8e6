"""What the scheduler reads: columns, not objects; grouped by the database where that saves rows."""

from __future__ import annotations

import json
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from gpuforge_controlplane.domain.families import pool_family
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.snapshot import Node, QueuedJob, RunningJob
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import to_micros

# Each database's own words: a list of numbers, a stored time in seconds, a stored time to compare with.
_WORDS = {
    "sqlite": {
        "idle_ids": "json_group_array(g.id) FILTER (WHERE {idle})",
        "held": "json_group_array(json_array(a.node_id, a.gpus))",
        "seconds": "({} / 1000000.0)",
    },
    "postgresql": {
        "idle_ids": "coalesce(json_agg(g.id) FILTER (WHERE {idle}), '[]')::text",
        "held": "json_agg(json_build_array(a.node_id, a.gpus))::text",
        "seconds": "extract(epoch FROM {})::float8",
    },
}
_IDLE = "g.status IN ('active', 'idle') AND a.gpu_id IS NULL"


class Rows(NamedTuple):
    """What a snapshot is made of."""

    nodes: list[Node]
    tenants: list[Tenant]
    running: list[RunningJob]
    waiting: list[QueuedJob]


async def load(tx: Connection, fresh_since: datetime, *, cluster_id: int | None = None) -> Rows:
    """The fleet and its jobs at this moment; nodes and queue of one cluster where that is given.

    Nodes not heard from since `fresh_since` own their GPUs but lend none. Running jobs are those of all
    clusters: quotas reach across them.
    """
    return Rows(
        nodes=await _nodes(tx, fresh_since, cluster_id),
        tenants=await _tenants(tx),
        running=await _running(tx),
        waiting=await _waiting(tx, cluster_id),
    )


async def _nodes(tx: Connection, fresh_since: datetime, cluster_id: int | None) -> list[Node]:
    words = _WORDS[tx.dialect.name]
    query = text(
        f"""
        SELECT n.id, n.cluster_id, g.model, count(*),
               n.state = 'active' AND n.last_heartbeat_at >= :fresh_since,
               {words["idle_ids"].format(idle=_IDLE)}
        FROM nodes n JOIN gpus g ON g.node_id = n.id AND g.gpu_index IS NOT NULL
        LEFT JOIN allocations a ON a.gpu_id = g.id AND a.ended_at IS NULL
        WHERE n.retired_at IS NULL AND n.cluster_id = coalesce(:cluster_id, n.cluster_id)
        GROUP BY n.id, n.cluster_id, n.state, n.last_heartbeat_at, g.model
        """  # noqa: S608  # constants of this module
    )
    since = fresh_since if tx.dialect.name == "postgresql" else to_micros(fresh_since)
    rows = (await tx.execute(query, {"fresh_since": since, "cluster_id": cluster_id})).all()
    families = {row[2]: pool_family(row[2] or "unknown") for row in rows}
    merged: dict[tuple[int, str], Node] = {}
    for node_id, cluster, model, owned, schedulable, idle in rows:
        ids = tuple(sorted(json.loads(idle))) if schedulable else ()
        node = Node(node_id, cluster, families[model], owned, bool(schedulable), ids)
        known = merged.get((node_id, node.family))  # two spellings of one family on a node
        merged[node_id, node.family] = node if known is None else _together(known, node)
    return list(merged.values())


def _together(one: Node, other: Node) -> Node:
    ids = tuple(sorted(one.idle_gpu_ids + other.idle_gpu_ids))
    return one._replace(owned=one.owned + other.owned, idle_gpu_ids=ids)


async def _tenants(tx: Connection) -> list[Tenant]:
    rows = await tx.execute(text("SELECT id, gpu_quota, status FROM tenants"))
    return [Tenant(id=row[0], quota=row[1], active=row[2] == "active") for row in rows]


async def _running(tx: Connection) -> list[RunningJob]:
    words = _WORDS[tx.dialect.name]
    query = text(
        f"""
        SELECT j.id, j.tenant_id, j.cluster_id, min(a.family), {words["seconds"].format("j.started_at")},
               j.estimated_duration_min * 60, j.time_limit_min * 60, {words["held"]}
        FROM (SELECT job_id, node_id, min(family) AS family, count(*) AS gpus FROM allocations
              WHERE ended_at IS NULL GROUP BY job_id, node_id) a
        JOIN jobs j ON j.id = a.job_id
        GROUP BY j.id, j.tenant_id, j.cluster_id, j.started_at, j.estimated_duration_min, j.time_limit_min
        """  # noqa: S608
    )
    rows = (await tx.execute(query)).all()
    return [RunningJob._make((*row[:7], tuple(map(tuple, sorted(json.loads(row[7])))))) for row in rows]


async def _waiting(tx: Connection, cluster_id: int | None) -> list[QueuedJob]:
    words = _WORDS[tx.dialect.name]
    query = text(
        f"""
        SELECT priority, {words["seconds"].format("submitted_at")}, id, cluster_id, family, gpu_count,
               tenant_id, 60 * CASE WHEN time_limit_min < coalesce(estimated_duration_min, 1440)
                                    THEN time_limit_min ELSE estimated_duration_min END,
               CASE WHEN status = 'blocked' THEN coalesce(block_reason, '') END
        FROM jobs
        WHERE status IN ('queued', 'blocked') AND cluster_id = coalesce(:cluster_id, cluster_id)
        ORDER BY priority, submitted_at, id
        """  # noqa: S608
    )
    rows = await tx.execute(query, {"cluster_id": cluster_id})
    return list(map(QueuedJob._make, rows.all()))
