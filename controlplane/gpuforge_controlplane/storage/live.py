"""The whole fleet as it is now, as bytes a GPU: read every second, so the database does the arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple, TypedDict

from sqlalchemy import select

from gpuforge_controlplane.domain import frames
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import clusters, gpus, jobs, nodes, tenants, to_micros
from gpuforge_controlplane.storage.statements import is_among, records, tuples

_IN_PLACE = "gpus.gpu_index IS NOT NULL AND nodes.retired_at IS NULL"


class GpuNow(NamedTuple):
    """One GPU of the live fleet: figures and flags as bytes (domain/frames), ids 0 where there is none."""

    gpu_id: int
    node_id: int
    utilization_pct: int
    memory_pct: int
    temperature_c: int
    power_draw_w: int
    flags: int
    job_id: int
    tenant_id: int


class PlacedNode(TypedDict):
    """What stands still of a node."""

    id: int
    cluster_id: int
    hostname: str


class PlacedGpu(TypedDict):
    """What stands still of a GPU."""

    id: int
    gpu_index: int
    model: str | None
    memory_total_mb: int | None


class ShownCluster(TypedDict):
    """What stands still of a cluster."""

    id: int
    name: str
    region: str | None


class Holder(TypedDict):
    """A running job and whose it is."""

    id: int
    name: str
    started_at: datetime | None
    tenant_id: int | None
    tenant_name: str | None


class Still(NamedTuple):
    """What stands still of the fleet: clusters, nodes and GPUs in place, each in order of id."""

    clusters: list[ShownCluster]
    nodes: list[PlacedNode]
    gpus: list[PlacedGpu]


async def fleet(tx: Connection, fresh_since: datetime) -> Iterable[tuple[int, ...]]:
    """GPUs in place as rows of `GpuNow`, in order of id; what was not heard since then is unknown."""
    since = _literal(tx, fresh_since)
    memory = "100.0 * gpus.memory_used_mb / NULLIF(COALESCE(gpus.memory_total_mb, gpus.vram_mb), 0)"
    figures = ", ".join(
        _byte(tx, value, step, since)
        for value, step in (
            ("gpus.utilization_pct", 1),
            (memory, 1),
            ("gpus.temperature_c", 1),
            ("gpus.power_draw_w", frames.POWER_STEP_W),
        )
    )
    return await tuples(
        tx,
        f"SELECT gpus.id, gpus.node_id, {figures}, {_flags(since)},"  # noqa: S608  # constants and a time
        " COALESCE(jobs.id, 0), COALESCE(jobs.tenant_id, 0)"
        " FROM gpus JOIN nodes ON nodes.id = gpus.node_id"
        " LEFT JOIN allocations ON allocations.gpu_id = gpus.id AND allocations.ended_at IS NULL"
        f" LEFT JOIN jobs ON jobs.id = allocations.job_id WHERE {_IN_PLACE} ORDER BY gpus.id",
    )


async def still(tx: Connection) -> Still:
    """What stands still of the fleet that `fleet` shows."""
    in_place = (gpus.c.gpu_index.is_not(None), nodes.c.retired_at.is_(None))
    cards = (
        select(gpus.c.id, gpus.c.gpu_index, gpus.c.model, gpus.c.memory_total_mb, gpus.c.vram_mb)
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .where(*in_place)
        .order_by(gpus.c.id)
    )
    hosts = select(nodes.c.id, nodes.c.cluster_id, nodes.c.hostname).where(nodes.c.retired_at.is_(None))
    groups = select(clusters.c.id, clusters.c.name, clusters.c.region).order_by(clusters.c.id)
    return Still(
        clusters=records(await tx.execute(groups), ShownCluster),
        nodes=records(await tx.execute(hosts.order_by(nodes.c.id)), PlacedNode),
        gpus=[
            PlacedGpu(id=row.id, gpu_index=row.gpu_index, model=row.model, memory_total_mb=row[3] or row[4])
            for row in (await tx.execute(cards)).all()
        ],
    )


async def holders(tx: Connection, job_ids: Collection[int]) -> list[Holder]:
    """These jobs and their tenants, in order of id."""
    query = (
        select(
            jobs.c.id,
            jobs.c.name,
            jobs.c.started_at,
            tenants.c.id.label("tenant_id"),
            tenants.c.name.label("tenant_name"),
        )
        .outerjoin(tenants, tenants.c.id == jobs.c.tenant_id)
        .where(is_among(tx, jobs.c.id, sorted(job_ids)))
        .order_by(jobs.c.id)
    )
    return records(await tx.execute(query), Holder)


def _literal(tx: Connection, moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat()}'" if _is_postgresql(tx) else str(to_micros(moment))


def _is_postgresql(tx: Connection) -> bool:
    return tx.dialect.name == "postgresql"


def _byte(tx: Connection, value: str, step: int, since: str) -> str:
    """`value` in steps as a byte. A half rounds up on both: PostgreSQL's own round() would go to the even."""
    steps = f"({value}) / {step}.0 + 0.5"
    whole = f"FLOOR({steps})::int" if _is_postgresql(tx) else f"CAST({steps} AS INTEGER)"
    return (
        f"CASE WHEN ({value}) IS NULL OR gpus.recorded_at < {since} THEN {frames.UNKNOWN}"
        f" WHEN ({value}) >= {frames.MOST * step} THEN {frames.MOST} ELSE {whole} END"
    )


def _flags(since: str) -> str:
    return (
        f"CASE WHEN nodes.last_heartbeat_at < {since} OR gpus.status = 'offline' THEN {frames.OFFLINE}"
        f" WHEN gpus.status = 'unhealthy' THEN {frames.UNHEALTHY}"
        f" WHEN gpus.status = 'active' THEN {frames.ACTIVE} ELSE {frames.IDLE} END"
        f" + CASE WHEN jobs.id IS NULL THEN 0 ELSE {frames.ALLOCATED} END"
        f" + CASE nodes.state WHEN 'cordoned' THEN {frames.CORDONED} WHEN 'draining' THEN {frames.DRAINING}"
        " ELSE 0 END"
        f" + CASE WHEN gpus.recorded_at >= {since} THEN 0 ELSE {frames.STALE} END"
    )
