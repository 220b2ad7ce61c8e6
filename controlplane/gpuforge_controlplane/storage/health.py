"""What nodes and GPUs last reported of their health, and their faults."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict, cast

import msgspec
from sqlalchemy import JSON, Table, func, select, update

from gpuforge_controlplane.domain.fleet import GpuStatus
from gpuforge_controlplane.domain.health import Fault, FaultKind
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.health_schema import gpu_faults, gpu_health, node_health
from gpuforge_controlplane.storage.schema import gpus
from gpuforge_controlplane.storage.statements import Row, insert, is_among, record, records


class StoredFault(TypedDict):
    """A row of `gpu_faults`."""

    id: int
    gpu_id: int
    kind: FaultKind
    code: str
    message: str
    seen_at: datetime
    cleared_at: datetime | None
    needs_operator: bool
    cleared_by: str | None
    note: str | None


class StoredNodeHealth(TypedDict):
    """A row of `node_health`."""

    node_id: int
    reported_at: datetime
    host: dict[str, Any]
    driver_fault: dict[str, str] | None
    collectors: list[dict[str, Any]]


class StoredGpuHealth(TypedDict):
    """A row of `gpu_health`."""

    gpu_id: int
    reported_at: datetime
    health: dict[str, Any] | None
    processes: list[dict[str, Any]] | None
    processes_missing: str | None
    xids: list[dict[str, Any]]
    ecc_volatile: int | None
    ecc_aggregate: int | None


async def save_nodes(tx: Connection, rows: Sequence[StoredNodeHealth]) -> None:
    """Keep the latest report of each of these nodes."""
    await _upsert(tx, node_health, "node_id", [cast(Row, row) for row in rows])


async def save_gpus(tx: Connection, rows: Sequence[StoredGpuHealth]) -> None:
    """Keep the latest report of each of these GPUs."""
    await _upsert(tx, gpu_health, "gpu_id", [cast(Row, row) for row in rows])


async def of_node(tx: Connection, node_id: int) -> StoredNodeHealth | None:
    """What the node reported last."""
    query = select(node_health).where(node_health.c.node_id == node_id)
    return record(await tx.execute(query), StoredNodeHealth)


async def of_gpus(tx: Connection, gpu_ids: Sequence[int]) -> dict[int, StoredGpuHealth]:
    """What was last reported of these GPUs, by GPU."""
    query = select(gpu_health).where(is_among(tx, gpu_health.c.gpu_id, gpu_ids))
    return {row["gpu_id"]: row for row in records(await tx.execute(query), StoredGpuHealth)}


async def open_faults(tx: Connection, gpu_ids: Sequence[int]) -> list[StoredFault]:
    """The faults of these GPUs that have not ended, oldest first."""
    query = (
        select(gpu_faults)
        .where(is_among(tx, gpu_faults.c.gpu_id, gpu_ids), gpu_faults.c.cleared_at.is_(None))
        .order_by(gpu_faults.c.id)
    )
    return records(await tx.execute(query), StoredFault)


async def past_faults(tx: Connection, gpu_ids: Sequence[int], most: int) -> list[StoredFault]:
    """The faults of these GPUs that have ended, the newest first, `most` of each."""
    newest_first = func.row_number().over(
        partition_by=gpu_faults.c.gpu_id, order_by=(gpu_faults.c.cleared_at.desc(), gpu_faults.c.id.desc())
    )
    ended = (
        select(gpu_faults, newest_first.label("place"))
        .where(is_among(tx, gpu_faults.c.gpu_id, gpu_ids), gpu_faults.c.cleared_at.is_not(None))
        .subquery()
    )
    columns = [ended.c[column.name] for column in gpu_faults.c]
    query = select(*columns).where(ended.c.place <= most).order_by(ended.c.gpu_id, ended.c.place)
    return records(await tx.execute(query), StoredFault)


async def open_fault(tx: Connection, gpu_id: int, fault: Fault, now: datetime) -> StoredFault | None:
    """Put a fault on record; None where it is there already, open or cleared."""
    row = {
        "gpu_id": gpu_id,
        "kind": fault.kind,
        "code": fault.code,
        "message": fault.message,
        "seen_at": min(fault.seen_at or now, now),  # by the node's clock, which may run ahead
        "needs_operator": fault.needs_operator,
    }
    made = await tx.execute(
        insert(tx, gpu_faults).values(**row).on_conflict_do_nothing().returning(*gpu_faults.c)
    )
    return record(made, StoredFault)


async def clear_faults(
    tx: Connection,
    fault_ids: Sequence[int],
    now: datetime,
    *,
    by: str | None = None,
    note: str | None = None,
) -> list[StoredFault]:
    """End these faults, `by` an operator's word or with their cause; the rows as they are now, by id."""
    changed = await tx.execute(
        update(gpu_faults)
        .where(is_among(tx, gpu_faults.c.id, fault_ids), gpu_faults.c.cleared_at.is_(None))
        .values(cleared_at=now, cleared_by=by, note=note)
        .returning(*gpu_faults.c)
    )
    return sorted(records(changed, StoredFault), key=lambda fault: fault["id"])


async def set_unhealthy(tx: Connection, gpu_ids: Sequence[int]) -> None:
    """Take these GPUs out of scheduling."""
    await tx.execute(update(gpus).where(is_among(tx, gpus.c.id, gpu_ids)).values(status="unhealthy"))


async def set_well(tx: Connection, gpu_ids: Sequence[int]) -> None:
    """Give these GPUs back, where they were out; the next sample says whether they work."""
    out = gpus.c.status == "unhealthy"
    await tx.execute(update(gpus).where(is_among(tx, gpus.c.id, gpu_ids), out).values(status="idle"))


async def node_of_gpu(tx: Connection, gpu_id: int) -> int | None:
    """The id of the node that has the GPU."""
    found = await tx.scalar(select(gpus.c.node_id).where(gpus.c.id == gpu_id))
    return None if found is None else int(found)


async def status_of(tx: Connection, gpu_id: int) -> GpuStatus:
    """The GPU's own status; it is there."""
    return cast(GpuStatus, await tx.scalar(select(gpus.c.status).where(gpus.c.id == gpu_id)))


async def _upsert(tx: Connection, table: Table, key: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    # times inside of JSON become text, those of a column stay
    jsons = {column.name for column in table.c if isinstance(column.type, JSON)}
    plain = [
        {name: msgspec.to_builtins(value) if name in jsons else value for name, value in row.items()}
        for row in rows
    ]
    # rows as parameters: as values, each number of them would be a statement of its own, compiled anew
    statement = insert(tx, table)
    fresh = {column.name: statement.excluded[column.name] for column in table.c if column.name != key}
    await tx.execute(statement.on_conflict_do_update(index_elements=[key], set_=fresh), plain)
