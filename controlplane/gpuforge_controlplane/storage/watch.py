"""What alert rules look at, read in one snapshot: columns, not objects; grouped by the database."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import text

from gpuforge_controlplane.domain.watched import Cluster, Gpu, Holding, Node, Tenant, Watched
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import tuples

# Times are wanted as seconds since the epoch.
_SECONDS = {"sqlite": "({} / 1000000.0)", "postgresql": "extract(epoch FROM {})::float8"}


async def load(tx: Connection, hearing_since: datetime) -> Watched:
    """The picture at this moment; `hearing_since` as in `Watched`."""
    seconds = _SECONDS[tx.dialect.name]
    return Watched(
        hearing_since=hearing_since.timestamp(),
        clusters=await _clusters(tx, seconds),
        nodes=await _nodes(tx, seconds),
        gpus=await _gpus(tx, seconds),
        holdings=await _holdings(tx, seconds),
        tenants=await _tenants(tx),
    )


async def _clusters(tx: Connection, seconds: str) -> list[Cluster]:
    oldest = f"SELECT cluster_id, {seconds.format('min(submitted_at)')} FROM jobs"  # noqa: S608  # constants
    queued: Iterable[tuple[int, float]] = await tuples(
        tx, f"{oldest} WHERE status = 'queued' GROUP BY cluster_id"
    )
    waits = dict(queued)
    return [
        Cluster(cluster_id, name, None, waits.get(cluster_id))
        for cluster_id, name in await tuples(tx, "SELECT id, name FROM clusters")
    ]


async def _nodes(tx: Connection, seconds: str) -> list[Node]:
    heard = seconds.format("last_heartbeat_at")
    query = f"SELECT id, cluster_id, hostname, {heard} FROM nodes WHERE retired_at IS NULL"  # noqa: S608
    return list(map(Node._make, await tuples(tx, query)))


async def _gpus(tx: Connection, seconds: str) -> list[Gpu]:
    reported = seconds.format("coalesce(recorded_at, created_at)")
    query = (
        f"SELECT id, node_id, gpu_index, {reported}, temperature_c, status, utilization_pct FROM gpus"  # noqa: S608
        " WHERE gpu_index IS NOT NULL"
        " AND node_id IN (SELECT id FROM nodes WHERE retired_at IS NULL)"
    )
    faults = await _faults(tx)
    told = ("unhealthy",)
    return [
        Gpu(
            gpu_id, node_id, index, at, temperature,
            tuple(faults.get(gpu_id, told)) if status == "unhealthy" else (), used,
        )
        for gpu_id, node_id, index, at, temperature, status, used in await tuples(tx, query)
    ]  # fmt: skip


async def _faults(tx: Connection) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for gpu_id, message in await tuples(
        tx, "SELECT gpu_id, message FROM gpu_faults WHERE cleared_at IS NULL ORDER BY id"
    ):
        found.setdefault(gpu_id, []).append(message)
    return found


async def _holdings(tx: Connection, seconds: str) -> list[Holding]:
    since = seconds.format("a.started_at")
    query = (
        f"SELECT a.gpu_id, a.job_id, j.tenant_id, {since}, a.family FROM allocations a"  # noqa: S608
        " JOIN jobs j ON j.id = a.job_id WHERE a.ended_at IS NULL"
    )
    return [Holding(*row) for row in await tuples(tx, query)]


async def _tenants(tx: Connection) -> list[Tenant]:
    # A running job holds exactly the GPUs it asked for: no need to count allocations one by one.
    found = await tx.execute(
        text(
            "SELECT t.id, t.name, t.gpu_quota, coalesce(sum(j.gpu_count), 0) FROM tenants t"
            " LEFT JOIN jobs j ON j.tenant_id = t.id AND j.status = 'running'"
            " WHERE t.status = 'active' GROUP BY t.id, t.name, t.gpu_quota"
        )
    )
    return [Tenant(row[0], row[1], row[2], int(row[3])) for row in found]
