"""How busy clusters and held GPUs were lately, from rollups alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select

from gpuforge_controlplane.storage import rollups
from gpuforge_controlplane.storage.database import Connection
from gpuforge_controlplane.storage.rollup_schema import gpu_rollup_5m
from gpuforge_controlplane.storage.schema import gpus, nodes
from gpuforge_controlplane.storage.statements import time_literal

CLUSTER_WINDOW = timedelta(minutes=15)
HELD_WINDOW = timedelta(minutes=30)
STALE_AFTER = timedelta(minutes=15)  # rollups that lag further behind tell nothing of now

_rolled = gpu_rollup_5m.c
_MEAN = func.sum(_rolled.utilization_sum) / func.sum(_rolled.utilization_n)


@dataclass(slots=True)
class Lately:
    """Means as they were read last. They stand as long as rollups do: five minutes, or ten evaluations."""

    until: datetime | None = None
    clusters: Mapping[int, float] = field(default_factory=dict)
    held: Mapping[tuple[int, int], float | None] = field(default_factory=dict)  # by GPU and job


async def rolled_until(tx: Connection, now: datetime) -> datetime | None:
    """The end of the last settled bucket; None where that is too long ago."""
    done = await rollups.progress(tx)
    return None if done is None or now - done > STALE_AFTER else done


async def of_clusters(tx: Connection, until: datetime) -> dict[int, float]:
    """Mean utilisation in percent of each cluster's reporting GPUs over the 15 min to `until`.

    Clusters of which a part of that time is unknown are absent: of a minute's figures nobody is alarmed.
    """
    since = until - CLUSTER_WINDOW
    query = (
        select(nodes.c.cluster_id, _MEAN, func.min(_rolled.bucket))
        .select_from(gpus)
        .join(nodes, nodes.c.id == gpus.c.node_id)
        .join(gpu_rollup_5m, _rolled.gpu_id == gpus.c.id)
        .where(
            gpus.c.gpu_index.is_not(None),
            nodes.c.retired_at.is_(None),
            _rolled.bucket >= since,
            _rolled.bucket < until,
            _rolled.utilization_n > 0,
        )
        .group_by(nodes.c.cluster_id)
    )
    return {row[0]: row[1] for row in (await tx.execute(query)).all() if row[2] == since}


def of_held(tx: Connection, until: datetime) -> str:
    """SQL of the mean utilisation in percent of GPU `a.gpu_id` over the 30 min to `until`, while allocation
    `a` held it; null without telemetry. Each is one look along the key, cheaper than grouping them all."""
    return (
        "(SELECT sum(r.utilization_sum) / sum(r.utilization_n) FROM gpu_rollup_5m r"  # noqa: S608  # times
        f" WHERE r.gpu_id = a.gpu_id AND r.bucket >= {time_literal(tx, until - HELD_WINDOW)}"
        f" AND r.bucket >= a.started_at AND r.bucket < {time_literal(tx, until)} AND r.utilization_n > 0)"
    )
