"""How many GPUs there were, were allocated and were used, by five minutes."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, select

from gpuforge_controlplane.storage.alert_schema import fleet_use
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.statements import insert


class Use(NamedTuple):
    """GPU-seconds of a stretch that somebody watched for `watched_s` seconds."""

    bucket: datetime
    watched_s: int
    gpu_s: int
    held_s: int
    idle_s: int


async def add(tx: Connection, use: Use) -> None:
    """Count this into its bucket."""
    table = fleet_use.c
    fresh = insert(tx, fleet_use).values(use._asdict())
    sums = {name: table[name] + fresh.excluded[name] for name in ("watched_s", "gpu_s", "held_s", "idle_s")}
    await tx.execute(fresh.on_conflict_do_update(index_elements=[table.bucket], set_=sums))


async def since(tx: Connection, moment: datetime) -> list[Use]:
    """Buckets that begin from then on, in order of time."""
    query = select(fleet_use).where(fleet_use.c.bucket >= moment).order_by(fleet_use.c.bucket)
    return [Use._make(row) for row in (await tx.execute(query)).all()]


async def prune(tx: Connection, before: datetime) -> None:
    await tx.execute(delete(fleet_use).where(fleet_use.c.bucket < before))
