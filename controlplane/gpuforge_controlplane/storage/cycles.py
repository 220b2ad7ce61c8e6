"""The scheduler's log: one row a cycle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, select

from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.schema import scheduler_cycles
from gpuforge_controlplane.storage.statements import Row, insert, records
from gpuforge_shared.wire.jobs import SchedulerLog


async def append(tx: Connection, values: Row) -> None:
    await tx.execute(insert(tx, scheduler_cycles).values(**values))


async def page(tx: Connection, *, before_id: int, limit: int) -> list[SchedulerLog]:
    """Newest first, below `before_id`."""
    columns = [scheduler_cycles.c[name] for name in SchedulerLog.__annotations__]
    query = (
        select(*columns)
        .where(scheduler_cycles.c.id < before_id)
        .order_by(scheduler_cycles.c.id.desc())
        .limit(limit)
    )
    return records(await tx.execute(query), SchedulerLog)


async def latest_shortages(tx: Connection) -> Mapping[str, str]:
    """Why each shape waits, as the last cycle saw it, by `jobs.shape_name`."""
    query = select(scheduler_cycles.c.shortages).order_by(scheduler_cycles.c.id.desc()).limit(1)
    found: Mapping[str, str] | None = (await tx.execute(query)).scalar_one_or_none()
    return found or {}


async def prune(tx: Connection, before: datetime) -> None:
    await tx.execute(delete(scheduler_cycles).where(scheduler_cycles.c.started_at < before))
