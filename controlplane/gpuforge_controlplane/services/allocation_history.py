"""Allocated against used over time, of the whole fleet, for the chart on the dashboard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from gpuforge_controlplane.domain.buckets import start_of
from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.storage import fleet_use
from gpuforge_controlplane.storage.fleet_use import Use
from gpuforge_shared.wire.kpis import AllocationHistory, AllocationHistoryQuery

POINTS = 300
STEPS_S = (300, 900, 1_800, 3_600, 7_200, 10_800)


async def allocation_history(ctx: Context, query: AllocationHistoryQuery) -> AllocationHistory:
    """How many GPUs there were, were allocated and were used, point by point.

    Counted by the leader every half minute; there is nothing of a time in which none led.
    """
    step_s = next(step for step in STEPS_S if query.hours * 3_600 / step <= POINTS)
    step = timedelta(seconds=step_s)
    first = start_of(ctx.now - timedelta(hours=query.hours), step)
    points = [first + number * step for number in range((ctx.now - first) // step + 1)]
    found: dict[int, list[Use]] = defaultdict(list)
    for use in await fleet_use.since(ctx.tx, first):
        found[(use.bucket - first) // step].append(use)
    told = [found.get(number, []) for number in range(len(points))]
    return AllocationHistory(
        step_s=step_s,
        timestamps=points,
        total_gpus=[_mean(uses, [use.gpu_s for use in uses]) for uses in told],
        allocated_gpus=[_mean(uses, [use.held_s for use in uses]) for uses in told],
        used_gpus=[_mean(uses, [use.held_s - use.idle_s for use in uses]) for uses in told],
    )


def _mean(uses: Sequence[Use], gpu_seconds: Sequence[int]) -> float | None:
    watched_s = sum(use.watched_s for use in uses)
    return round(sum(gpu_seconds) / watched_s, 2) if watched_s else None
