"""GPUs that jobs held and did not use for half an hour: the leader's note, kept until the next is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update

from gpuforge_controlplane.domain.leakage import HeldGpu
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.rollup_schema import rollup_progress, unused_gpus
from gpuforge_controlplane.storage.schema import allocations
from gpuforge_controlplane.storage.statements import insert


async def until(tx: Connection) -> datetime | None:
    """The end of the half hour that is noted; None before the first."""
    moment: datetime | None = await tx.scalar(select(rollup_progress.c.unused_until))
    return moment


async def note(tx: Connection, until: datetime, found: Sequence[tuple[int, float | None]]) -> None:
    """Keep GPUs and their means, None without telemetry, of the half hour to `until`; what was noted goes."""
    await tx.execute(delete(unused_gpus))
    if found:
        rows = [{"gpu_id": gpu_id, "mean_pct": mean} for gpu_id, mean in found]
        await tx.execute(insert(tx, unused_gpus), rows)
    await tx.execute(update(rollup_progress).values(unused_until=until))


async def held(tx: Connection, since: datetime, tenant_id: int | None) -> list[HeldGpu]:
    """Those noted that the same job still holds; `since`: the beginning of the half hour."""
    query = (
        select(allocations.c.gpu_id, allocations.c.family, allocations.c.tenant_id, unused_gpus.c.mean_pct)
        .join(unused_gpus, unused_gpus.c.gpu_id == allocations.c.gpu_id)
        .where(allocations.c.ended_at.is_(None), allocations.c.started_at <= since)
    )
    if tenant_id is not None:
        query = query.where(allocations.c.tenant_id == tenant_id)
    return [HeldGpu._make(row) for row in (await tx.execute(query)).all()]
